"""In-place distillation over three probabilities of each lattice cell: label, blank, rest.

Source: Panchapagesan et al. 2020, section 3; Dual-mode ASR, section 3.2 (with the shift of the teacher).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, ShiftedTermOptions
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.three_way import three_way


class ThreeWay:
    """KL(teacher || student) on (P_label, P_blank, P_rest) of each cell; no gradient reaches the teacher.

    Args:
        shift: output frames by which the teacher is moved later; cells without a partner drop out.
        symmetric: add KL(student || teacher), in which the student is the one that is held still.
        reduction: over the cells that have a partner.
    """

    name = "three_way"
    compares_lattices = True

    def __init__(self, *, shift: int, symmetric: bool, reduction: Reduction) -> None:
        self.shift = shift
        self.symmetric = symmetric
        self.reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        value = self._one_way(student.lattice(), teacher.lattice(), self.shift)
        if self.symmetric:
            value = value + self._one_way(teacher.lattice(), student.lattice(), -self.shift)
        return value

    def _one_way(self, learner: Lattice, goal: Lattice, shift: int) -> Tensor:
        compared = three_way(learner, goal, shift)
        return reduce_valid(compared.kl, compared.mask, self.reduction)


class ThreeWayOptions(ShiftedTermOptions):
    """In-place distillation over label, blank and rest (Dual-mode ASR, section 3.2)."""

    name: Literal["three_way"]
    """Which term."""

    def build(self) -> ThreeWay:
        """The term."""
        return ThreeWay(**self.arguments())
