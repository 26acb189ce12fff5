"""In-place distillation over three probabilities of each lattice cell: label, blank, rest.

Source: Panchapagesan et al. 2020, section 3; Dual-mode ASR, section 3.2 (with the shift of the teacher).
"""

from __future__ import annotations

from torch import Tensor

from dualtk.distill.terms import Outcome
from dualtk.transducer.three_way import three_way


class ThreeWay:
    """Mean over cells of KL(teacher || student) on (P_label, P_blank, P_rest); no gradient reaches the teacher.

    Args:
        shift: output frames by which the teacher is moved later; cells without a partner drop out of the mean.
    """

    name = "three_way"

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """Mean KL per cell that has a partner."""
        compared = three_way(student.loss.lattice, teacher.loss.lattice, self.shift)
        return compared.kl.sum() / compared.mask.sum().clamp(min=1)
