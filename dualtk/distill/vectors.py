"""Distillation of internal vectors, layer by layer (Kojima 2021, equations 6 and 7).

Axes: B batch, T' output frames, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, TermOptions
from dualtk.encoders.base import EncoderOutput
from dualtk.errors import InputError
from dualtk.nn.masks import padding_mask


class LayerVectors:
    """L2 distance of what every block gives; no gradient reaches the teacher.

    Args:
        name: `hidden`, the blocks' outputs (equation 6), or `heads` of attention after the residual connection
            (equation 7).
        reduction: over blocks, heads and frames; "sum" is that of the equations.
    """

    compares_lattices = False

    def __init__(self, name: Literal["hidden", "heads"], *, reduction: Reduction) -> None:
        self.name: str = name
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        own, goal = student.run.encoded, teacher.run.encoded
        return layer_distances(self.name, getattr(own, self.name), getattr(goal, self.name), own, self.reduction)


def layer_distances(
    name: str, student: Sequence[Tensor], teacher: Sequence[Tensor], encoded: EncoderOutput, reduction: Reduction
) -> Tensor:
    """L2 distance (not squared) of the vectors of all layers, summed over layers and frames, or their mean.

    Args:
        name: of the term, for errors.
        student, teacher: per layer (B, ..., T, D); T is a multiple of T'. The teacher's get no gradient.
        encoded: the student's; its lengths say which frames count.
        reduction: over layers, heads and frames.

    Raises:
        InputError: numbers of layers or shapes differ; both are named.
    """
    if not student or not teacher:
        raise InputError(f"{name}: the encoder of the {'teacher' if student else 'student'} gives none")
    if len(student) != len(teacher):
        raise InputError(f"{name}: the student has {len(student)} layers, the teacher {len(teacher)}")
    distances, valid = [], []
    for layer, (own, goal) in enumerate(zip(student, teacher)):
        if own.shape != goal.shape:
            raise InputError(
                f"{name}: layer {layer} is {tuple(own.shape)} in the student, {tuple(goal.shape)} in the teacher"
            )
        difference = (own - goal.detach()).to(torch.promote_types(own.dtype, torch.float32))
        rate = own.shape[-2] // encoded.frames.shape[1]
        mask = padding_mask(encoded.lengths * rate, own.shape[-2])
        mask = mask.view(mask.shape[0], *[1] * (own.dim() - 3), mask.shape[1])
        # Masked before the norm, whose gradient at zero is zero.
        difference = difference.masked_fill(~mask.unsqueeze(-1), 0.0)
        distance = torch.linalg.vector_norm(difference, dim=-1)
        distances.append(distance.flatten(1))
        valid.append(mask.expand_as(distance).flatten(1))
    return reduce_valid(torch.cat(distances, 1), torch.cat(valid, 1), reduction)


class HiddenVectorsOptions(TermOptions):
    """Distance of the outputs of every block (Kojima 2021, equation 6)."""

    reads = "hidden"
    alike = ("num_layers", "dim")

    name: Literal["hidden"]
    """Which term."""

    def build(self) -> LayerVectors:
        """The term."""
        return LayerVectors(self.name, **self.arguments())


class HeadsOptions(TermOptions):
    """Distance of the attention heads of every block (Kojima 2021, equation 7)."""

    reads = "heads"
    alike = ("num_layers", "dim", "num_heads")

    name: Literal["heads"]
    """Which term."""

    def build(self) -> LayerVectors:
        """The term."""
        return LayerVectors(self.name, **self.arguments())
