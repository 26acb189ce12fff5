"""Distillation of hidden vectors: the output of every block imitates the teacher's (Kojima 2021, equation 6)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction
from dualtk.distill.terms import Outcome, TermOptions
from dualtk.distill.vectors import layer_distances


class HiddenVectors:
    """L2 distance of the blocks' outputs; no gradient reaches the teacher.

    Args:
        reduction: over blocks and frames; "sum" is equation 6.
    """

    name = "hidden"
    compares_lattices = False

    def __init__(self, *, reduction: Reduction) -> None:
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        own, goal = student.run.encoded, teacher.run.encoded
        return layer_distances(self.name, own.hidden, goal.hidden, own, self.reduction)


class HiddenVectorsOptions(TermOptions):
    """Distance of the outputs of every block (Kojima 2021, equation 6)."""

    reads = "hidden"
    alike = ("num_layers", "dim")

    name: Literal["hidden"]
    """Which term."""

    def build(self) -> HiddenVectors:
        """The term."""
        return HiddenVectors(**self.arguments())
