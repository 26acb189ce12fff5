"""The additive joint, logits = am[t] + lm[u], as a lattice, exactly and without a 4-D tensor.

Its normaliser is a product of matrices of exponentials. With scales it is the smoothed lattice of Kuang et al.,
"Pruned RNN-T for fast, memory-efficient ASR training", 2022, section 3.2, as k2's `rnnt_loss_smoothed` computes it.

Axes: B batch, T frames, U labels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dualtk.transducer.check import check_targets
from dualtk.transducer.lattice import Lattice
from dualtk.transducer.negligible import negligible
from dualtk.transducer.precision import without_autocast


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
    in k2).
    """
    check_targets(targets, logit_lengths, target_lengths, am.shape[1], am.shape[2], blank)
    am, lm = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (am, lm))
    am, lm = (x - x.detach().amax(2, keepdim=True) for x in (am, lm))  # changes no probability, and keeps digits
    normaliser = _normaliser(am, lm)
    pick = torch.cat([targets.long(), targets.new_full((targets.shape[0], 1), blank).long()], dim=1)
    inside = torch.arange(pick.shape[1], device=pick.device) < target_lengths.unsqueeze(1)
    pick = torch.where(inside, pick, torch.full_like(pick, blank))
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
        unigram = (lm.softmax(2).mean((0, 1)) + torch.finfo(lm.dtype).tiny).log()
        alone = (am + unigram).logsumexp(2, keepdim=True)
        blank_scores = blank_scores + am_scale * (am_blank + unigram[blank] - alone)
        label_scores = label_scores + am_scale * (am_label + unigram[pick].unsqueeze(1) - alone)
    label_scores = label_scores.masked_fill(~inside.unsqueeze(1), float("-inf"))
    return Lattice(blank_scores, label_scores, logit_lengths, target_lengths)


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


_normaliser: Callable[..., Any] = _Normaliser.apply
_LOST_AT_ONCE = 4096


def _smallest(dtype: torch.dtype) -> float:
    """Below this a product of exponentials has lost terms that matter to its logarithm."""
    return 1e-25 if dtype == torch.float32 else 1e-200
