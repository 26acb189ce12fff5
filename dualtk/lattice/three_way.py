"""Distillation over three outcomes per cell: blank, the next label, and everything else.

Panchapagesan et al., "Efficient knowledge distillation for RNN-transducer models", 2020; the shift of the
teacher in time is that of Yu et al., "Dual-mode ASR", 2021, section on inplace distillation.

Axes: B batch, T frames, S cells of a frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dualtk.lattice.lattice import Lattice


class ThreeWay(NamedTuple):
    """KL (B, T, S) of each cell, zero where `mask` (B, T, S) says that it is not compared."""

    kl: Tensor
    mask: Tensor


def three_way(student: Lattice, teacher: Lattice, shift: int = 0) -> ThreeWay:
    """KL(teacher || student) over (blank, label, rest) for each cell.

    Frame t of the student learns from frame t - shift of the teacher: a positive shift moves the teacher later. A cell
    without a partner, because its frame is beyond the utterance or its label position was pruned, is left out.
    The gradient stops at the teacher. Student and teacher may be pruned by different ranges.
    """
    teacher_blank, teacher_label, found = _partner(student, teacher, shift)
    mask = student.mask() & found
    has_label = mask & (student.positions() < student.target_lengths.view(-1, 1, 1))
    kl = _kl(
        torch.where(mask, student.blank, -1.0 * torch.ones_like(student.blank)),
        torch.where(has_label, student.label, torch.full_like(student.label, _ABSENT)),
        teacher_blank.masked_fill(~mask, -1.0).clamp(min=_ABSENT),
        teacher_label.masked_fill(~has_label, _ABSENT).clamp(min=_ABSENT),
    )
    return ThreeWay(kl.masked_fill(~mask, 0.0), mask)


_ABSENT = -1e4  # log-probability of a label that is not there: its exponential is exactly zero, on both sides


def _partner(student: Lattice, teacher: Lattice, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    """Blank and label of the teacher for each cell of the student, and (B, T, S) whether there is one."""
    blank, label = teacher.blank.detach(), teacher.label.detach()
    batch, num_frames, width = student.blank.shape
    frame = torch.arange(num_frames, device=blank.device) - shift
    inside = (frame.view(1, -1, 1) >= 0) & (frame.view(1, -1, 1) < teacher.logit_lengths.view(-1, 1, 1))
    frame = frame.clamp(0, blank.shape[1] - 1)
    if student.ranges is None and teacher.ranges is None:
        return blank[:, frame], label[:, frame], inside.expand(batch, num_frames, width)
    cell = student.positions().expand(batch, num_frames, width)
    if teacher.ranges is not None:
        cell = cell - teacher.ranges[:, frame, :1]
    found = inside & (cell >= 0) & (cell < blank.shape[2])
    cell = cell.clamp(0, blank.shape[2] - 1)
    return blank[:, frame].gather(2, cell), label[:, frame].gather(2, cell), found


def _log_rest(blank: Tensor, label: Tensor) -> Tensor:
    """log(1 - P_blank - P_label), floored where rounding has eaten what is left."""
    floor = 1e-6 if blank.dtype != torch.float64 else 1e-12
    either = torch.logaddexp(blank, label).clamp(max=-floor)
    return torch.log(-torch.expm1(either))


def _kl(blank: Tensor, label: Tensor, teacher_blank: Tensor, teacher_label: Tensor) -> Tensor:
    teacher_rest = _log_rest(teacher_blank, teacher_label)
    return (
        teacher_blank.exp() * (teacher_blank - blank)
        + teacher_label.exp() * (teacher_label - label)
        + teacher_rest.exp() * (teacher_rest - _log_rest(blank, label))
    )
