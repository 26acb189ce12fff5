"""Logits to lattice in plain torch, for every device and dtype.

Axes: B batch, T frames, S cells of a frame, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, Scores
from dualtk.lattice.cell_list import NO_CELL
from dualtk.lattice.next_labels import NextLabels


@dataclass(frozen=True)
class LogSumExp:
    """log-sum-exp over the last axis in two parts: beside a logit of 1e4 float32 has three digits for the logarithm."""

    high: Tensor
    low: Tensor

    @staticmethod
    def of(logits: Tensor) -> LogSumExp:
        """Reduce (..., V) to (...)."""
        high = logits.amax(-1)
        return LogSumExp(high, (logits - high.unsqueeze(-1)).exp_().sum(-1).log_())

    @staticmethod
    def split(total: Tensor, dtype: torch.dtype) -> LogSumExp:
        """Take the parts out of a float64 total."""
        high = total.to(dtype)
        return LogSumExp(high, (total - high).to(dtype))

    def total(self) -> Tensor:
        """In float64."""
        return self.high.double() + self.low.double()

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Normalise logits (...) that were picked, one for each sum."""
        return (logits - self.high) - self.low


class TorchReduction:
    """Utterance by utterance, so that temporaries stay small."""

    def scores(self, logits: Tensor, labels: NextLabels, blank: int) -> Scores:
        """See `Reduction`."""
        label = labels.of_cells(logits.shape[1])
        dtype = torch.promote_types(logits.dtype, torch.float32)
        normaliser = torch.empty(logits.shape[:3], dtype=torch.float64, device=logits.device)
        blank_scores, label_scores = (torch.empty_like(normaliser, dtype=dtype) for _ in range(2))
        for b in range(logits.shape[0]):
            values = logits[b].to(dtype)
            sums = LogSumExp.of(values)
            normaliser[b] = sums.total()
            blank_scores[b] = sums.log_softmax(values[:, :, blank])
            label_scores[b] = sums.log_softmax(values.gather(2, label[b].clamp(min=0).unsqueeze(2)).squeeze(2))
        blank_scores.masked_fill_(label == NO_CELL, LOG_ZERO)
        return Scores(blank_scores, label_scores.masked_fill_(label < 0, LOG_ZERO), normaliser)

    def gradient(
        self, logits: Tensor, labels: NextLabels, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `Reduction`."""
        label = labels.of_cells(logits.shape[1])
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
