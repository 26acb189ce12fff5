"""The cells of a batch as flat index lists, so that padding costs nothing.

Axes: B batch, T frames, U labels, S cells of a frame, N cells of the whole batch that belong to an utterance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# In place of a label; numba's cached kernels hold these values too.
NO_LABEL, NO_CELL = -1, -2  # no label is left; the cell belongs to no utterance


@dataclass(frozen=True)
class CellList:
    """Where each of the N cells finds its inputs; ordered by utterance, frame, position.

    Attributes:
        shape: (B, T, S) of the dense lattice.
        index: (N,) place in the dense lattice, flattened.
        frame: (N,) row of the encoder output, flattened to (B * T, J).
        position: (N,) row of the predictor output, flattened to (B * (U + 1), J).
        label: (N,) class of the next label, or NO_LABEL.
    """

    shape: tuple[int, int, int]
    index: Tensor
    frame: Tensor
    position: Tensor
    label: Tensor

    def dense(self, flat: Tensor, missing: float) -> Tensor:
        """(N,) -> (B, T, S), with `missing` in cells beyond an utterance."""
        batch, num_frames, width = self.shape
        if flat.numel() == batch * num_frames * width:
            return flat.view(self.shape)
        out = flat.new_full((batch * num_frames * width,), missing)
        out[self.index] = flat
        return out.view(self.shape)

    def select(self, which: Tensor) -> CellList:
        """The cells at indices `which` (M,) of the list; only their places in the inputs remain meaningful."""
        if which.numel() == self.index.numel():
            return self
        parts = (self.index[which], self.frame[which], self.position[which], self.label[which])
        return CellList(self.shape, *parts)

    def flat(self, dense: Tensor) -> Tensor:
        """(B, T, S) -> (N,)."""
        dense = dense.reshape(-1)
        return dense if self.index.numel() == dense.numel() else dense[self.index]


def make_cell_list(
    targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, num_frames: int, ranges: Tensor | None
) -> CellList:
    """List the cells of targets (B, U) and, for a pruned lattice, ranges (B, T, S)."""
    batch, num_labels = targets.shape
    device = targets.device
    frames = torch.arange(num_frames, device=device).view(1, -1, 1)
    if ranges is None:
        positions = torch.arange(num_labels + 1, device=device).expand(batch, num_frames, -1)
    else:
        positions = ranges
    inside = (frames < logit_lengths.view(-1, 1, 1)) & (positions <= target_lengths.view(-1, 1, 1))
    index = inside.reshape(-1).nonzero().flatten()
    width = positions.shape[2]
    frame = torch.div(index, width, rounding_mode="floor")
    utterance = torch.div(frame, num_frames, rounding_mode="floor")
    position = positions.reshape(-1)[index]
    padded = torch.cat([targets, targets.new_zeros(batch, 1)], dim=1).long()
    label = padded[utterance, position]
    label = torch.where(position < target_lengths[utterance], label, torch.full_like(label, NO_LABEL))
    return CellList((batch, num_frames, width), index, frame, position + utterance * (num_labels + 1), label)
