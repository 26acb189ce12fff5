"""Logits to lattice on the GPU, for float32 and half precision.

Axes: B batch, T frames, S cells of a frame, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.lattice.backends.base import Scores
from dualtk.lattice.backends.triton_rows import FULL, PRUNED, Rows
from dualtk.lattice.next_labels import NextLabels


class TritonReduction:
    """The GPU form of `TorchReduction`: which label is next is read off the targets, and no tensor holds it."""

    def scores(self, logits: Tensor, labels: NextLabels, blank: int) -> Scores:
        """See `Reduction`."""
        return rows_of(logits, labels).scores(blank)

    def gradient(
        self, logits: Tensor, labels: NextLabels, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `Reduction`."""
        out = torch.empty_like(logits, memory_format=torch.contiguous_format)
        rows_of(logits, labels).gradient(blank, normaliser, for_blank, for_label, out)
        return out


class TritonRows:
    """The GPU form of `TorchRows`; gradients take the place of the logits."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> Scores:
        """See `LogitRows`."""
        return Rows.listed(logits, label).scores(blank)

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `LogitRows`."""
        Rows.listed(logits, label).gradient(blank, normaliser, for_blank, for_label, logits)
        return logits


def rows_of(logits: Tensor, labels: NextLabels) -> Rows:
    """The rows of logits (B, T, S, V)."""
    frames, counts = labels.logit_lengths.contiguous(), labels.target_lengths.contiguous()
    starts = frames if labels.ranges is None else labels.ranges[:, :, 0].contiguous()
    places = (labels.targets.contiguous(), starts, frames, counts)
    kind = FULL if labels.ranges is None else PRUNED
    return Rows(logits.contiguous(), places, (logits.shape[2], labels.targets.shape[1]), kind.value)
