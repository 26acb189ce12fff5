"""Which label each cell of a lattice would emit next.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dualtk.lattice.cell_list import NO_CELL, NO_LABEL


class NextLabels(NamedTuple):
    """Where the next label of each cell stands.

    Attributes:
        targets: (B, U) labels.
        logit_lengths: (B,) frames of each utterance.
        target_lengths: (B,) labels of each utterance.
        ranges: (B, T, S) label positions of a pruned lattice; None: position s is cell s.
    """

    targets: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor
    ranges: Tensor | None

    def of_cells(self, num_frames: int) -> Tensor:
        """(B, T, S) int64 class of the label that each cell would emit next, or NO_LABEL, or NO_CELL."""
        targets = self.targets
        position = torch.arange(targets.shape[1] + 1, device=targets.device)
        left = self.target_lengths.unsqueeze(1) - position  # (B, U + 1) labels left
        padded = torch.cat([targets, targets.new_zeros(targets.shape[0], 1)], dim=1).long()
        padded = padded.masked_fill(left <= 0, NO_LABEL).masked_fill_(left < 0, NO_CELL).unsqueeze(1)
        padded = padded.expand(-1, num_frames, -1)
        label = padded if self.ranges is None else padded.gather(2, self.ranges)
        frame = torch.arange(num_frames, device=targets.device).view(1, -1, 1)
        return label.masked_fill(frame >= self.logit_lengths.view(-1, 1, 1), NO_CELL)
