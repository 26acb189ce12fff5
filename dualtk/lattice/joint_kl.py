"""KL divergence over the whole vocabulary in every lattice cell, chunk by chunk, never as a 4-D tensor.

Hinton et al., "Distilling the knowledge in a neural network", 2015, applied to each cell of the lattice as in
Kojima, "Knowledge distillation for streaming transformer-transducer", 2021.

Axes: B batch, T frames, U labels, S cells of a frame, J joiner width, V vocabulary, N cells of the batch, C cells of a
chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dualtk.lattice.cell_list import CellList, make_cell_list
from dualtk.lattice.check import check_ranges, check_shape
from dualtk.lattice.gradients import entry_point, first_derivative
from dualtk.lattice.joint import JointInputs
from dualtk.lattice.joint_engine import (
    JointGradients,
    TorchEngine,
    add_gradients,
    can_compile,
    chunks,
    compiled_chunk,
    finish_gradients,
    start_gradients,
)
from dualtk.lattice.precision import without_autocast


@dataclass(frozen=True)
class Softening:
    """How the two distributions are compared.

    Attributes:
        temperature: divides the logits of both. The KL is not multiplied by its square.
        top_k: compare the teacher's k most probable classes and the sum of all others; None: every class. Since
            classes are only put together, this never exceeds the full KL.
    """

    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0.0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {self.top_k}")


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
        backend: a name from `backends()`; "torch" keeps to plain torch.
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
    engine = _choose_engine(backend, student, teacher, softening or Softening(), chunk)
    kl: Tensor = _joint_kl(
        student.encoder,
        student.predictor,
        student.weight,
        student.bias,
        _Fixed(teacher.detach(), cells, engine, student.activation),
    )
    return kl


class KLEngine(Protocol):
    """Computes the divergence of cells and its gradient."""

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """KL (N,) of all cells, in at least float32."""

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """Gradients of the student's inputs, given those of each cell's KL, `weight` (N,)."""


def _choose_engine(
    backend: str, student: JointInputs, teacher: JointInputs, softening: Softening, chunk: int | None
) -> KLEngine:
    every_class = softening.top_k is None or softening.top_k >= student.vocabulary
    if every_class and can_compile(backend, student) and can_compile(backend, teacher):
        from dualtk.lattice.backends.numba_kl import NumbaKL

        return NumbaKL(softening.temperature, chunk or compiled_chunk(student))
    engine = TorchEngine.sized(student, chunk)
    return TorchKL(softening, engine.chunk)


@dataclass(frozen=True)
class TorchKL:
    """Plain torch, for every device, dtype and softening."""

    softening: Softening
    chunk: int

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """See `KLEngine`."""
        dtype = torch.promote_types(student.encoder.dtype, torch.float32)
        parts = [torch.zeros(0, dtype=dtype, device=student.encoder.device)]
        for ours, theirs in zip(chunks(student, cells, self.chunk), chunks(teacher, cells, self.chunk)):
            parts.append(_compare(ours.logits, theirs.logits, self.softening).kl)
        return torch.cat(parts)

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """See `KLEngine`."""
        sums = start_gradients(student, torch.promote_types(student.encoder.dtype, torch.float32))
        for ours, theirs in zip(chunks(student, cells, self.chunk), chunks(teacher, cells, self.chunk)):
            grad = _compare(ours.logits, theirs.logits, self.softening).pull
            grad = grad * (weight[ours.cells] / self.softening.temperature).unsqueeze(1)
            add_gradients(sums, student, ours, grad)
        return finish_gradients(sums, student)


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


@dataclass(frozen=True)
class _Comparison:
    """KL (C,) and its gradient (C, V) with respect to the student's softened logits."""

    kl: Tensor
    pull: Tensor


def _compare(student: Tensor, teacher: Tensor, softening: Softening) -> _Comparison:
    """Compare logits (C, V) of both."""
    ours = (student / softening.temperature).log_softmax(1)
    theirs = (teacher.to(ours.dtype) / softening.temperature).log_softmax(1)
    if softening.top_k is None or softening.top_k >= ours.shape[1]:
        goal = theirs.exp()
        return _Comparison(_expected_difference(ours, theirs).sum(1), ours.exp() - goal)
    top, index = theirs.topk(softening.top_k, dim=1)
    never = float("-inf")
    our_others, their_others = ours.scatter(1, index, never), theirs.scatter(1, index, never)
    our_rest, their_rest = our_others.logsumexp(1, keepdim=True), their_others.logsumexp(1, keepdim=True)
    kl = _expected_difference(torch.cat([ours.gather(1, index), our_rest], 1), torch.cat([top, their_rest], 1)).sum(1)
    share = our_others - our_rest.clamp(min=torch.finfo(ours.dtype).min)  # -inf, not NaN, where all others are -inf
    goal = (share + their_rest).exp().scatter(1, index, top.exp())
    return _Comparison(kl, ours.exp() - goal)


def _expected_difference(ours: Tensor, theirs: Tensor) -> Tensor:
    """exp(theirs) * (theirs - ours); what the teacher rules out adds nothing, whatever the student says of it."""
    return theirs.exp() * (theirs - ours).masked_fill(theirs == float("-inf"), 0.0)
