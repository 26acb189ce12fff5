"""Distillation over three outcomes per cell: blank, the next label, and everything else.

Panchapagesan et al., "Efficient knowledge distillation for RNN-transducer models", 2020; the shift of the
teacher in time is that of Yu et al., "Dual-mode ASR", 2021, section on inplace distillation.

Axes: B batch, T frames, S cells of a frame.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dualtk.lattice.lattice import Lattice


class ThreeWay(NamedTuple):
    """KL (B, T, S) of each cell, zero where `mask` (B, T, S) says that it is not compared."""

    kl: Tensor
    mask: Tensor


Weighting = Literal["cells", "teacher", "student", "both"]


def three_way(student: Lattice, teacher: Lattice, shift: int = 0) -> ThreeWay:
    """KL(teacher || student) over (blank, label, rest) for each cell.

    Frame t of the student learns from frame t - shift of the teacher: a positive shift moves the teacher later. A cell
    without a partner, because its frame is beyond the utterance or its label position was pruned, is left out.
    The gradient stops at the teacher. Student and teacher may be pruned by different ranges.
    """
    partner = _Partner(student, teacher, shift)
    teacher_blank, teacher_label = partner.of(teacher.blank.detach()), partner.of(teacher.label.detach())
    mask = student.mask() & partner.found
    has_label = mask & (student.positions() < student.target_lengths.view(-1, 1, 1))
    kl = _kl(
        torch.where(mask, student.blank, -1.0 * torch.ones_like(student.blank)),
        torch.where(has_label, student.label, torch.full_like(student.label, _ABSENT)),
        teacher_blank.masked_fill(~mask, -1.0).clamp(min=_ABSENT),
        teacher_label.masked_fill(~has_label, _ABSENT).clamp(min=_ABSENT),
    )
    return ThreeWay(kl.masked_fill(~mask, 0.0), mask)


def visits(student: Lattice, teacher: Lattice, shift: int = 0, weighting: Weighting = "teacher") -> Tensor:
    """(B, T, S) how much the KL of each cell of the student counts; carries no gradient.

    "cells": 1 in each. Otherwise the posterior that a path goes through the cell, in the teacher (where its partner
    is), in the student, or the mean of both: it sums to T + U over an utterance, the steps of a path and the terms of
    the transducer's gradient, whatever cells the lattice has beside those; less where a shift leaves some without a
    partner.
    """
    if weighting == "cells":
        return torch.ones_like(student.blank.detach())
    found = []
    if weighting in ("teacher", "both"):
        partner = _Partner(student, teacher, shift)
        found.append(partner.of(_visited(teacher)).masked_fill(~partner.found, 0.0))
    if weighting in ("student", "both"):
        found.append(_visited(student))
    return torch.stack(found).mean(0)


def _visited(lattice: Lattice) -> Tensor:
    """(B, T, S): a path leaves each cell that it goes through by one arc, blank or label."""
    occupation = lattice.occupation()
    return occupation.blank + occupation.label


_ABSENT = -1e4  # log-probability of a label that is not there: its exponential is exactly zero, on both sides


class _Partner:
    """Where each cell of the student (B, T, S) finds its partner among those of the teacher.

    Attributes:
        found: (B, T, S) whether there is one.
    """

    def __init__(self, student: Lattice, teacher: Lattice, shift: int) -> None:
        batch, num_frames, width = student.blank.shape
        frame = torch.arange(num_frames, device=student.blank.device) - shift
        inside = (frame.view(1, -1, 1) >= 0) & (frame.view(1, -1, 1) < teacher.logit_lengths.view(-1, 1, 1))
        self.frame = frame.clamp(0, teacher.blank.shape[1] - 1)
        self.cell: Tensor | None = None
        if student.ranges is None and teacher.ranges is None:
            self.found = inside.expand(batch, num_frames, width)
            return
        cell = student.positions().expand(batch, num_frames, width)
        if teacher.ranges is not None:
            cell = cell - teacher.ranges[:, self.frame, :1]
        self.found = inside & (cell >= 0) & (cell < teacher.blank.shape[2])
        self.cell = cell.clamp(0, teacher.blank.shape[2] - 1)

    def of(self, values: Tensor) -> Tensor:
        """Of the teacher's cells (B, T, S) -> of the student's (B, T, S); anything where there is no partner."""
        rows = values[:, self.frame]
        return rows if self.cell is None else rows.gather(2, self.cell)


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
