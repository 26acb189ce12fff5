"""Distillation of hidden vectors: the output of every block imitates the teacher's (Kojima 2021, equation 6)."""

from __future__ import annotations

from torch import Tensor

from dualtk.distill.reduction import Reduction
from dualtk.distill.terms import Outcome
from dualtk.distill.vectors import layer_distances


class HiddenVectors:
    """L2 distance of the blocks' outputs; no gradient reaches the teacher.

    Args:
        reduction: over blocks and frames; "sum" is equation 6.
    """

    name = "hidden"
    compares_lattices = False

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        ours, theirs = student.run.encoded, teacher.run.encoded
        return layer_distances(self.name, ours.hidden, theirs.hidden, ours, self.reduction)
