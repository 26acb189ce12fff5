"""Which S label positions of each frame a pruned lattice keeps.

Kuang et al., "Pruned RNN-T for fast, memory-efficient ASR training", 2022, section 3.3; equal to k2's
`get_rnnt_prune_ranges`.

Axes: B batch, T frames, U labels, S prune range.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.lattice.backends.base import Occupation
from dualtk.lattice.check import check_shape


def prune_ranges(
    occupation: Occupation, logit_lengths: Tensor, target_lengths: Tensor, s_range: int, *others: Occupation
) -> Tensor:
    """Choose for each frame the s_range consecutive positions that keep the most probability.

    Args:
        occupation: of a full lattice, both (B, T, U + 1).
        logit_lengths: (B,).
        target_lengths: (B,).
        s_range: S, at least 2; widened where an utterance has more than (S - 1) * T labels, since no path would
            survive, and narrowed to U + 1.
        others: more occupations of the same utterances; the ranges then serve them all, by keeping the most of their
            sum. Every frame weighs each occupation alike, so neither pass can push the other out.

    Returns:
        (B, T, S) int64 label positions.
    """
    if s_range < 2:
        raise ValueError(f"s_range must be at least 2, not {s_range}")
    blank, label = occupation
    batch, num_frames, num_positions = blank.shape
    for name, lengths in (("logit_lengths", logit_lengths), ("target_lengths", target_lengths)):
        check_shape(name, lengths, batch)
    for other in others:
        check_shape("another occupation", other.blank, batch, num_frames, num_positions)
        blank, label = blank + other.blank, label + other.label
    frame = torch.arange(num_frames, device=blank.device)
    if batch == 0:
        return logit_lengths.new_zeros(0, num_frames, min(s_range, num_positions))
    needed = torch.div(target_lengths + logit_lengths - 1, logit_lengths, rounding_mode="floor").max()
    width = min(max(s_range, int(needed) + 1), num_positions)
    kept = blank.unfold(2, width, 1).sum(3)  # (B, T, U + 2 - S): what each possible start keeps
    kept[:, :, 1:] -= label[:, :, : num_positions - width]  # the label that leads in was counted before
    last = (target_lengths - width + 1).clamp(min=0).unsqueeze(1)
    starts = torch.where(frame < logit_lengths.unsqueeze(1) - 1, kept.argmax(2), last)
    starts = _connect(starts, width)
    return starts.unsqueeze(2) + torch.arange(width, device=blank.device)


def prune_ranges_shared(
    teacher: Occupation, student: Occupation, logit_lengths: Tensor, target_lengths: Tensor, s_range: int
) -> Tensor:
    """Ranges (B, T, S) that serve both passes of a dual system: those that keep the most of both together."""
    return prune_ranges(teacher, logit_lengths, target_lengths, s_range, student)


def _connect(starts: Tensor, width: int) -> Tensor:
    """Make starts (B, T) rise from 0, never fall, and never leave a gap between neighbouring frames."""
    starts = _lower_bound(starts)
    climb = (width - 1) * torch.arange(starts.shape[1], device=starts.device)
    return climb - _lower_bound(climb - starts).clamp(min=0)


def _lower_bound(value: Tensor) -> Tensor:
    """The greatest non-decreasing sequence below `value` (B, T)."""
    return value.flip(1).cummin(1).values.flip(1)
