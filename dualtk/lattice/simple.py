"""The additive joint, logits = am[t] + lm[u], as a lattice, exactly and without a 4-D tensor.

Its normaliser is a product of matrices of exponentials. With scales it is the smoothed lattice of Kuang et al.,
"Pruned RNN-T for fast, memory-efficient ASR training", 2022, section 3.2, as k2's `rnnt_loss_smoothed` computes it.

Axes: B batch, T frames, U labels, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO
from dualtk.lattice.check import check_shape, check_targets, class_of_blank
from dualtk.lattice.gradients import entry_point, first_derivative, without_autocast
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.negligible import negligible


def simple_lattice(
    am: Tensor,
    lm: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    *,
    lm_scale: float = 0.0,
    am_scale: float = 0.0,
) -> Lattice:
    """Lattice of the additive joint of am (B, T, V) and lm (B, U + 1, V), smoothed by the two scales.

    With scales the log-probabilities are interpolated: (1 - lm_scale - am_scale) of the joint, lm_scale of the label
    side alone, and am_scale of the acoustic side with the mean label distribution of the batch (padding included, as
    in k2). Inputs of two dtypes are computed in the one that holds both.

    Raises:
        InputError: shapes do not fit, or a label or length is impossible; names the argument or the utterance.
    """
    check_shape("targets", targets, None, None)
    check_shape("am", am, targets.shape[0], None, None)
    check_shape("lm", lm, targets.shape[0], targets.shape[1] + 1, am.shape[2])
    blank = class_of_blank(blank, am.shape[2])
    check_targets(targets, logit_lengths, target_lengths, am.shape[1], am.shape[2], blank)
    dtype = torch.promote_types(torch.promote_types(am.dtype, lm.dtype), torch.float32)
    frames, positions = _Rows.of(am.to(dtype), logit_lengths), _Rows.of(lm.to(dtype), target_lengths + 1)
    am, lm = frames.scores, positions.scores
    normaliser = _normaliser(am, lm)
    has_label = torch.arange(lm.shape[1], device=lm.device) < target_lengths.unsqueeze(1)
    pick = torch.nn.functional.pad(targets.long(), (0, 1)).masked_fill(~has_label, blank)  # (B, U + 1)
    am_label = am.gather(2, pick.unsqueeze(1).expand(-1, am.shape[1], -1))
    lm_label = lm.gather(2, pick.unsqueeze(2)).squeeze(2).unsqueeze(1)
    am_blank, lm_blank = am[:, :, blank].unsqueeze(2), lm[:, :, blank].unsqueeze(1)
    rest = 1.0 - lm_scale - am_scale
    blank_scores = rest * (am_blank + lm_blank - normaliser)
    label_scores = rest * (am_label + lm_label - normaliser)
    if lm_scale != 0.0:
        alone = lm.logsumexp(2).unsqueeze(1)
        blank_scores = blank_scores + lm_scale * (lm_blank - alone)
        label_scores = label_scores + lm_scale * (lm_label - alone)
    if am_scale != 0.0:
        unigram = _unigram(frames, positions)
        alone = (am + unigram.unsqueeze(1)).logsumexp(2, keepdim=True)
        blank_scores = blank_scores + am_scale * (am_blank + unigram[:, blank].view(-1, 1, 1) - alone)
        label_scores = label_scores + am_scale * (am_label + unigram.gather(1, pick).unsqueeze(1) - alone)
    inside = frames.inside.unsqueeze(2)
    blank_scores = blank_scores.masked_fill(~(inside & positions.inside.unsqueeze(1)), LOG_ZERO)
    label_scores = label_scores.masked_fill(~(inside & has_label.unsqueeze(1)), LOG_ZERO)
    return Lattice(blank_scores, label_scores, logit_lengths, target_lengths)


@dataclass(frozen=True)
class _Rows:
    """One side of the joint.

    Attributes:
        scores: (B, R, V); each row less its maximum, which changes no probability, and keeps digits.
        inside: (B, R) rows that belong to their utterance.
        finite: (B, R) rows without NaN and with a finite maximum.
    """

    scores: Tensor
    inside: Tensor
    finite: Tensor

    @staticmethod
    def of(values: Tensor, lengths: Tensor) -> _Rows:
        """From values (B, R, V), of which `lengths` (B,) rows count."""
        peak = values.detach().amax(2, keepdim=True)
        scores = values - peak
        inside = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)
        finite = torch.isfinite(peak).squeeze(2)
        spoilt = ~(inside | finite)
        if spoilt.any():  # rare; NaN times an occupation of zero would be NaN
            scores = scores.masked_fill(spoilt.unsqueeze(2), 0.0)
        return _Rows(scores, inside, finite)

    def sound(self) -> Tensor:
        """(B,) whether all rows of an utterance are finite."""
        return (self.finite | ~self.inside).all(1)


def _unigram(frames: _Rows, positions: _Rows) -> Tensor:
    """(B, V) log of the mean label distribution of the batch, the same for all.

    An utterance that is not finite neither adds to the mean nor sends its gradient through it to the others.
    """
    sound = (frames.sound() & positions.sound()).unsqueeze(1)
    mean = positions.scores[sound & positions.finite].softmax(1).mean(0)
    unigram = (mean + torch.finfo(mean.dtype).tiny).log()
    return torch.where(sound, unigram, unigram.detach())


class _Normaliser(torch.autograd.Function):
    """(B, T, U + 1) log-sum-exp over v of am[t, v] + lm[u, v].

    The maximum of each row is zero, so exp(am) @ exp(lm)^T cannot overflow. It loses all its terms where the maxima of
    two rows belong to different classes and are sharp; those cells are summed again one by one, so that the result is
    exact everywhere.
    """

    @staticmethod
    @without_autocast
    def forward(ctx: Any, am: Tensor, lm: Tensor) -> Tensor:
        am_exp, lm_exp = am.exp(), lm.exp()
        product = am_exp @ lm_exp.transpose(1, 2)  # (B, V, U + 1)
        lost = (product < _smallest(product.dtype)).nonzero()
        normaliser = product.log()
        for part in torch.split(lost, _LOST_AT_ONCE):
            b, t, u = part.unbind(1)
            normaliser[b, t, u] = (am[b, t] + lm[b, u]).logsumexp(1)
        ctx.save_for_backward(am, lm, am_exp, lm_exp, product, normaliser, lost)
        return normaliser

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad: Tensor) -> Any:
        am, lm, am_exp, lm_exp, product, normaliser, lost = ctx.saved_tensors
        weight = grad / product
        weight[product < _smallest(product.dtype)] = 0.0
        weight[negligible(grad)] = 0.0
        grad_am = (weight @ lm_exp).mul_(am_exp)
        grad_lm = (weight.transpose(1, 2) @ am_exp).mul_(lm_exp)
        for part in torch.split(lost, _LOST_AT_ONCE):
            b, t, u = part.unbind(1)
            share = (am[b, t] + lm[b, u] - normaliser[b, t, u].unsqueeze(1)).exp_()
            share *= grad[b, t, u].unsqueeze(1)
            grad_am.index_put_((b, t), share, accumulate=True)
            grad_lm.index_put_((b, u), share, accumulate=True)
        return grad_am, grad_lm


_normaliser = entry_point(_Normaliser)
_LOST_AT_ONCE = 4096


def _smallest(dtype: torch.dtype) -> float:
    """Below this a product of exponentials has lost terms that matter to its logarithm."""
    return 1e-25 if dtype == torch.float32 else 1e-200
