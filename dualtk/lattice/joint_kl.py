"""KL divergence over the whole vocabulary in every lattice cell, chunk by chunk, never as a 4-D tensor.

Hinton et al., "Distilling the knowledge in a neural network", 2015, applied to each cell of the lattice as in
Kojima, "Knowledge distillation for streaming transformer-transducer", 2021.

Axes: B batch, T frames, U labels, S cells of a frame, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualtk.lattice.backends.base import KLEngine
from dualtk.lattice.cell_list import CellList, make_cell_list
from dualtk.lattice.check import check_ranges, check_shape
from dualtk.lattice.engines import choose
from dualtk.lattice.gradients import entry_point, first_derivative, without_autocast
from dualtk.lattice.inputs import JointInputs, Softening


def joint_kl(
    student: JointInputs,
    teacher: JointInputs,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    *,
    ranges: Tensor | None = None,
    softening: Softening | None = None,
    chunk: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """KL(teacher || student) of each cell, (B, T, S), zero beyond an utterance; the gradient stops at the teacher.

    Args:
        student: joiner inputs.
        teacher: joiner inputs of the same B, T, U and V; widths may differ.
        logit_lengths: (B,).
        target_lengths: (B,).
        ranges: (B, T, S) label positions to compare; None: all.
        softening: temperature and top-k; None: neither.
        chunk: number of cells whose logits exist at the same time; None: chosen for the device.
        backend: a name from `list_backends()`; "torch" keeps to plain torch.
    """
    if student.vocabulary != teacher.vocabulary:
        raise ValueError(f"vocabularies differ: student {student.vocabulary}, teacher {teacher.vocabulary}")
    cells_of = [(x.encoder.shape[:2], x.predictor.shape[1]) for x in (student, teacher)]
    if cells_of[0] != cells_of[1]:
        raise ValueError("student and teacher must have the same frames and label positions")
    student, teacher = student.promoted(), teacher.promoted()
    batch, num_positions = student.predictor.shape[:2]
    check_shape("logit_lengths", logit_lengths, batch)
    check_shape("target_lengths", target_lengths, batch)
    ranges = check_ranges(ranges, batch, student.encoder.shape[1], num_positions - 1)
    labels = torch.zeros(batch, num_positions - 1, dtype=torch.int64, device=student.encoder.device)
    cells = make_cell_list(labels, logit_lengths, target_lengths, student.encoder.shape[1], ranges)
    engines = choose(backend, student.encoder.device.type, *student.dtypes, *teacher.dtypes)
    engine = engines.kl_engine(student, softening or Softening(), chunk)
    kl: Tensor = _joint_kl(*student.tensors, _Fixed(teacher.detach(), cells, engine, student.activation))
    return kl


@dataclass(frozen=True)
class _Fixed:
    """What needs no gradient."""

    teacher: JointInputs
    cells: CellList
    engine: KLEngine
    activation: str


class _JointKL(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, encoder: Tensor, predictor: Tensor, weight: Tensor | None, bias: Tensor | None, fixed: _Fixed
    ) -> Tensor:
        student = JointInputs(encoder, predictor, weight, bias, fixed.activation)
        ctx.save_for_backward(encoder, predictor, weight, bias)
        ctx.fixed = fixed
        return fixed.cells.dense(fixed.engine.forward(student, fixed.teacher, fixed.cells), 0.0)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_kl: Tensor) -> Any:
        fixed: _Fixed = ctx.fixed
        encoder, predictor, weight, bias = ctx.saved_tensors
        student = JointInputs(encoder, predictor, weight, bias, fixed.activation)
        found = fixed.engine.backward(student, fixed.teacher, fixed.cells, fixed.cells.flat(grad_kl))
        return found.encoder, found.predictor, found.weight, found.bias, None


_joint_kl = entry_point(_JointKL)
