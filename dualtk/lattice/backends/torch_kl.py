"""The divergence over the whole vocabulary in plain torch, for every device, dtype and softening.

Axes: V vocabulary, N cells of the batch, C cells of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, JointGradients
from dualtk.lattice.backends.torch_joint import add_gradients, chunks
from dualtk.lattice.cell_list import CellList
from dualtk.lattice.inputs import JointInputs, Softening


@dataclass(frozen=True)
class TorchKL:
    """Compares `chunk` cells at a time."""

    softening: Softening
    chunk: int

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """See `KLEngine`."""
        dtype = torch.promote_types(student.encoder.dtype, torch.float32)
        parts = [torch.zeros(0, dtype=dtype, device=student.encoder.device)]
        for of_student, of_teacher in zip(chunks(student, cells, self.chunk), chunks(teacher, cells, self.chunk)):
            parts.append(_compare(of_student.logits, of_teacher.logits, self.softening).kl)
        return torch.cat(parts)

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """See `KLEngine`."""
        sums = JointGradients.zeros(student, torch.promote_types(student.encoder.dtype, torch.float32))
        for of_student, of_teacher in zip(chunks(student, cells, self.chunk), chunks(teacher, cells, self.chunk)):
            grad = _compare(of_student.logits, of_teacher.logits, self.softening).pull
            grad = grad * (weight[of_student.cells] / self.softening.temperature).unsqueeze(1)
            add_gradients(sums, student, of_student, grad)
        return sums.like(student)


@dataclass(frozen=True)
class _Comparison:
    """KL (C,) and its gradient (C, V) with respect to the student's softened logits."""

    kl: Tensor
    pull: Tensor


def _compare(student: Tensor, teacher: Tensor, softening: Softening) -> _Comparison:
    """Compare logits (C, V) of both."""
    student = (student / softening.temperature).log_softmax(1)
    teacher = (teacher.to(student.dtype) / softening.temperature).log_softmax(1)
    if softening.top_k is None or softening.every_class(student.shape[1]):
        return _Comparison(_expected_difference(student, teacher).sum(1), student.exp() - teacher.exp())
    top, index = teacher.topk(softening.top_k, dim=1)
    others, teacher_others = student.scatter(1, index, LOG_ZERO), teacher.scatter(1, index, LOG_ZERO)
    rest, teacher_rest = others.logsumexp(1, keepdim=True), teacher_others.logsumexp(1, keepdim=True)
    kl = _expected_difference(torch.cat([student.gather(1, index), rest], 1), torch.cat([top, teacher_rest], 1)).sum(1)
    share = others - rest.clamp(min=torch.finfo(student.dtype).min)  # -inf, not NaN, where all others are -inf
    goal = (share + teacher_rest).exp().scatter(1, index, top.exp())
    return _Comparison(kl, student.exp() - goal)


def _expected_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """exp(teacher) * (teacher - student); what the teacher rules out adds nothing, whatever the student says of it."""
    return teacher.exp() * (teacher - student).masked_fill(teacher == LOG_ZERO, 0.0)
