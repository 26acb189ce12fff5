"""Distillation of attention heads (Kojima 2021, equation 7)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction
from dualtk.distill.terms import Outcome, TermOptions
from dualtk.distill.vectors import layer_distances


class Heads:
    """L2 distance of every block's heads after the residual connection; no gradient reaches the teacher.

    Args:
        reduction: over blocks, heads and frames; "sum" is equation 7.
    """

    name = "heads"
    compares_lattices = False

    def __init__(self, *, reduction: Reduction) -> None:
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        own, goal = student.run.encoded, teacher.run.encoded
        return layer_distances(self.name, own.heads, goal.heads, own, self.reduction)


class HeadsOptions(TermOptions):
    """Distance of the attention heads of every block (Kojima 2021, equation 7)."""

    reads = "heads"
    alike = ("num_layers", "dim", "num_heads")

    name: Literal["heads"]
    """Which term."""

    def build(self) -> Heads:
        """The term."""
        return Heads(**self.arguments())
