"""From logits that somebody already made, (B, T, S, V), to the lattice: one pass to read them, one to write gradients.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range), V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from dualtk.lattice.backends import choose
from dualtk.lattice.backends.numba_cpu import NumbaBackend
from dualtk.lattice.backends.triton_backend import TritonBackend
from dualtk.lattice.check import check_ranges, check_shape, check_targets, class_of_blank
from dualtk.lattice.gradients import entry_point, first_derivative
from dualtk.lattice.joint_engine import LogSumExp
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.precision import without_autocast

NEVER = float("-inf")
NO_LABEL, NO_CELL = -1, -2  # in place of a label


def logits_lattice(
    logits: Tensor,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    ranges: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Lattice:
    """Reduce logits (B, T, S, V) to the lattice; half precision is summed in float32.

    `backend="torch"` keeps to plain torch; otherwise compiled kernels read float32 on the CPU, and
    float32 and half precision on the GPU.

    Raises:
        InputError: shapes do not fit, or a label, length or range is impossible; names the argument or the utterance.
    """
    check_shape("targets", targets, None, None)
    batch, num_labels = targets.shape
    check_shape("logits", logits, batch, None, num_labels + 1 if ranges is None else ranges.shape[-1], None)
    ranges = check_ranges(ranges, batch, logits.shape[1], num_labels)
    blank = class_of_blank(blank, logits.shape[3])
    check_targets(targets, logit_lengths, target_lengths, logits.shape[1], logits.shape[3], blank)
    label = next_labels(targets, logit_lengths, target_lengths, logits.shape[1], ranges)
    reduction = _choose_reduction(backend, logits)
    blank_scores, label_scores = _logit_scores(logits, label, blank, reduction)
    return Lattice(blank_scores, label_scores, logit_lengths, target_lengths, ranges, num_labels)


def next_labels(
    targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, num_frames: int, ranges: Tensor | None
) -> Tensor:
    """(B, T, S) int64 class of the label that each cell would emit next, or NO_LABEL, or NO_CELL."""
    position = torch.arange(targets.shape[1] + 1, device=targets.device)
    left = target_lengths.unsqueeze(1) - position  # (B, U + 1) labels left
    padded = torch.cat([targets, targets.new_zeros(targets.shape[0], 1)], dim=1).long()
    padded = padded.masked_fill(left <= 0, NO_LABEL).masked_fill_(left < 0, NO_CELL).unsqueeze(1)
    padded = padded.expand(-1, num_frames, -1)
    label = padded if ranges is None else padded.gather(2, ranges)
    frame = torch.arange(num_frames, device=targets.device).view(1, -1, 1)
    return label.masked_fill(frame >= logit_lengths.view(-1, 1, 1), NO_CELL)


class Reduction(Protocol):
    """Reads and writes the vocabulary axis; label is (B, T, S) of `next_labels`, every score (B, T, S)."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of blank and of the label, both in at least float32, and the log-sum-exp in float64."""

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """Gradient of the logits, given those of the two scores."""


def _choose_reduction(backend: str, logits: Tensor) -> Reduction:
    chosen = choose(backend, logits.device.type, torch.promote_types(logits.dtype, torch.float32)).name
    if chosen == "torch" or logits.dtype == torch.float64:
        return TorchReduction()
    if logits.device.type == "cpu" and logits.dtype == torch.float32 and not NumbaBackend().unusable():
        from dualtk.lattice.backends.numba_logits import NumbaReduction

        return NumbaReduction()
    if logits.device.type == "cuda" and not TritonBackend().unusable():
        from dualtk.lattice.backends.triton_logits import TritonReduction

        return TritonReduction()
    return TorchReduction()


class _LogitScores(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, logits: Tensor, label: Tensor, blank: int, reduction: Reduction) -> tuple[Tensor, Tensor]:
        blank_scores, label_scores, normaliser = reduction.scores(logits.detach(), label, blank)
        ctx.save_for_backward(logits, label, normaliser)
        ctx.setting = (blank, reduction)
        return blank_scores, label_scores

    @staticmethod
    @first_derivative
    def backward(ctx: Any, for_blank: Tensor, for_label: Tensor) -> Any:
        logits, label, normaliser = ctx.saved_tensors
        blank, reduction = ctx.setting
        return reduction.gradient(logits, label, blank, normaliser, for_blank, for_label), None, None, None


_logit_scores = entry_point(_LogitScores)


class TorchReduction:
    """Plain torch, utterance by utterance so that temporaries stay small."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `Reduction`."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        normaliser = torch.empty(logits.shape[:3], dtype=torch.float64, device=logits.device)
        blank_scores, label_scores = (
            torch.empty_like(normaliser, dtype=dtype),
            torch.empty_like(normaliser, dtype=dtype),
        )
        for b in range(logits.shape[0]):
            values = logits[b].to(dtype)
            sums = LogSumExp.of(values)
            normaliser[b] = sums.total()
            blank_scores[b] = sums.log_softmax(values[:, :, blank])
            label_scores[b] = sums.log_softmax(values.gather(2, label[b].clamp(min=0).unsqueeze(2)).squeeze(2))
        blank_scores.masked_fill_(label == NO_CELL, NEVER)
        return blank_scores, label_scores.masked_fill_(label < 0, NEVER), normaliser

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `Reduction`."""
        grad_logits = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for_label = for_label.masked_fill(label < 0, 0.0)
        for b in range(logits.shape[0]):
            sums = LogSumExp.split(normaliser[b].unsqueeze(2), for_blank.dtype)
            grad = sums.log_softmax(logits[b].to(for_blank.dtype)).exp_()
            grad.mul_(-(for_blank[b] + for_label[b]).unsqueeze(2))
            grad[:, :, blank] += for_blank[b]
            grad.scatter_add_(2, label[b].clamp(min=0).unsqueeze(2), for_label[b].unsqueeze(2))
            grad_logits[b] = grad.masked_fill_((label[b] == NO_CELL).unsqueeze(2), 0.0)
        return grad_logits
