"""The most probable path through a lattice, and the mean emission frames.

Axes: B batch, T frames, U labels, L label positions (U + 1; of a pruned lattice, those of its
longest utterance), N anti-diagonals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, Cells
from dualtk.lattice.backends.torch_backend import make_grid, right, spread


def best_path(cells: Cells) -> Tensor:
    """(B, L - 1) int64 frame of each label on the most probable path; -1 beyond the targets."""
    if cells.blank.shape[0] == 0:
        return cells.target_lengths.new_zeros((0, cells.blank.shape[2] - 1))
    grid = make_grid(cells)
    best = torch.full_like(grid.blank[:, 0], LOG_ZERO)
    best[:, 0] = 0.0
    took_label = [torch.zeros_like(best, dtype=torch.bool)]
    for n in range(1, grid.blank.shape[1]):
        by_blank, by_label = best + grid.blank[:, n - 1], right(best + grid.label[:, n - 1])
        took_label.append(by_label > by_blank)
        best = torch.maximum(by_blank, by_label)
    return trace_back(torch.stack(took_label, dim=1), cells)


def trace_back(took_label: Tensor, cells: Cells) -> Tensor:
    """Follow `took_label` (B, N, L) from the last cell of each utterance to the first."""
    batch, num_diagonals, num_positions = took_label.shape
    rows = torch.arange(batch, device=took_label.device)
    frames = cells.target_lengths.new_full((batch, num_positions), -1)
    last = cells.logit_lengths - 1 + cells.target_lengths
    position = cells.target_lengths.clone()
    for n in range(num_diagonals - 1, 0, -1):
        emitted = took_label[rows, n, position] & (n <= last)
        position = position - emitted.long()
        frame = torch.where(emitted, n - 1 - position, frames[rows, position])
        frames[rows, position] = frame
    return frames[:, : num_positions - 1]


def sum_over_frames(cells: Cells, label_occupation: Tensor) -> Tensor:
    """(B, T, S) label occupation -> (B, L - 1) mean frame of each label; -1 beyond the targets."""
    if cells.blank.shape[0] == 0:
        return label_occupation.new_zeros((0, cells.blank.shape[2] - 1))
    occupation = spread(cells, label_occupation, 0.0)
    frame = torch.arange(occupation.shape[1], device=occupation.device, dtype=occupation.dtype).view(1, -1, 1)
    total = occupation.sum(1)
    mean = (occupation * frame).sum(1) / total.clamp(min=torch.finfo(occupation.dtype).tiny)
    position = torch.arange(mean.shape[1], device=mean.device)
    return mean.masked_fill(position >= cells.target_lengths.unsqueeze(1), -1.0)[:, :-1]
