"""Logits to lattice on the CPU: one pass that reads float32 logits, one that writes their gradient.

Axes: B batch, T frames, S cells of a frame, V vocabulary, R rows (B * T * S).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.lattice.backends import kernels
from dualtk.lattice.backends.base import Scores
from dualtk.lattice.backends.threads import empty, map_ranges
from dualtk.lattice.cell_list import NO_CELL
from dualtk.lattice.negligible import negligible
from dualtk.lattice.next_labels import NextLabels


class NumbaReduction:
    """The compiled form of `TorchReduction`; padded cells are neither read nor summed."""

    def scores(self, logits: Tensor, labels: NextLabels, blank: int) -> Scores:
        """See `Reduction`."""
        rows = logits.contiguous().view(-1, logits.shape[3]).numpy()
        label = labels.of_cells(logits.shape[1])
        flat = label.contiguous().view(-1).numpy()
        blank_scores, label_scores = torch.empty(label.shape), torch.empty(label.shape)
        normaliser = torch.empty(label.shape, dtype=torch.float64)
        out = [x.view(-1).numpy() for x in (normaliser, blank_scores, label_scores)]
        map_ranges(lambda start, stop: kernels.score_rows(rows, flat, blank, *out, start, stop), flat.shape[0])
        return Scores(blank_scores, label_scores, normaliser)

    def gradient(
        self, logits: Tensor, labels: NextLabels, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `Reduction`."""
        rows = logits.detach().contiguous().view(-1, logits.shape[3]).numpy()
        label = labels.of_cells(logits.shape[1])
        flat = label.masked_fill(negligible(for_blank, for_label), NO_CELL).view(-1).numpy()
        values = [x.contiguous().view(-1).numpy() for x in (normaliser, for_blank, for_label)]
        grad = empty(tuple(logits.shape))
        out = grad.view(-1, logits.shape[3]).numpy()
        map_ranges(
            lambda start, stop: kernels.gradient_rows(rows, flat, blank, *values, out, start, stop), flat.shape[0]
        )
        return grad
