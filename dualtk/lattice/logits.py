"""From logits that somebody already made, (B, T, S, V), to the lattice: one pass to read them, one to write gradients.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range), V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualtk.lattice.backends.base import Reduction
from dualtk.lattice.check import check_ranges, check_shape, check_targets, class_of_blank
from dualtk.lattice.engines import choose
from dualtk.lattice.gradients import entry_point, first_derivative, without_autocast
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.next_labels import NextLabels


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
    labels = NextLabels(targets, logit_lengths, target_lengths, ranges)
    reduction = choose(backend, logits.device.type, logits.dtype).logits_engine()
    blank_scores, label_scores = _logit_scores(logits, labels, blank, reduction)
    return Lattice(blank_scores, label_scores, logit_lengths, target_lengths, ranges, num_labels)


class _LogitScores(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, logits: Tensor, labels: NextLabels, blank: int, reduction: Reduction
    ) -> tuple[Tensor, Tensor]:
        blank_scores, label_scores, normaliser = reduction.scores(logits.detach(), labels, blank)
        ctx.save_for_backward(logits, normaliser, *labels)
        ctx.setting = (blank, reduction)
        return blank_scores, label_scores

    @staticmethod
    @first_derivative
    def backward(ctx: Any, for_blank: Tensor, for_label: Tensor) -> Any:
        logits, normaliser, *labels = ctx.saved_tensors
        blank, reduction = ctx.setting
        return (
            reduction.gradient(logits, NextLabels(*labels), blank, normaliser, for_blank, for_label),
            None,
            None,
            None,
        )


_logit_scores = entry_point(_LogitScores)
