"""In-place distillation over three probabilities of each lattice cell: label, blank, rest.

Source: Panchapagesan et al. 2020, section 3; Dual-mode ASR, section 3.2 (with the shift of the teacher).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, ShiftedTermOptions
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.three_way import Weighting, three_way, visits


class ThreeWay:
    """KL(teacher || student) on (P_label, P_blank, P_rest) of each cell; no gradient reaches the teacher.

    Args:
        shift: output frames by which the teacher is moved later; cells without a partner drop out.
        symmetric: add KL(student || teacher), in which the student is the one that is held still.
        weighting: how much each cell counts, see `dualtk.lattice.three_way.visits`.
        reduction: over the cells that have a partner; "mean" divides by the sum of what they count.
    """

    name = "three_way"
    compares_lattices = True

    def __init__(self, *, shift: int, symmetric: bool, weighting: Weighting, reduction: Reduction) -> None:
        self.shift = shift
        self.symmetric = symmetric
        self.weighting: Weighting = weighting
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        value = self._one_way(student.lattice(), teacher.lattice(), self.shift, self.weighting)
        if self.symmetric:
            back = _SWAPPED.get(self.weighting, self.weighting)
            value = value + self._one_way(teacher.lattice(), student.lattice(), -self.shift, back)
        return value

    def _one_way(self, learner: Lattice, goal: Lattice, shift: int, weighting: Weighting) -> Tensor:
        compared = three_way(learner, goal, shift)
        if weighting == "cells":
            return reduce_valid(compared.kl, compared.mask, self.reduction)
        weights = visits(learner, goal, shift, weighting).masked_fill(~compared.mask, 0.0)
        total = (weights * compared.kl).sum()
        return total / (weights.shape[0] if self.reduction == "sum" else weights.sum().clamp(min=1.0))


_SWAPPED: dict[Weighting, Weighting] = {"teacher": "student", "student": "teacher"}


class ThreeWayOptions(ShiftedTermOptions):
    """In-place distillation over label, blank and rest (Dual-mode ASR, section 3.2)."""

    name: Literal["three_way"]
    """Which term."""
    weighting: Weighting = "cells"
    """How much each cell counts: `cells`, all alike, of which there are T (U + 1) or those of the pruned range; or by
    the posterior that a path visits it, in the `teacher`, the `student`, or the mean of `both`, which sums to the T + U
    steps of a path. With `reduction: sum` a weight then means the same beside a transducer loss for utterances,
    vocabularies and ranges of any size, and with `mean` it is that of one step."""

    def build(self) -> ThreeWay:
        """The term."""
        return ThreeWay(**self.arguments())
