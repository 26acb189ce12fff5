"""Distillation of the whole output distribution of every lattice cell.

Source: the baseline of Kojima 2021 (table 2, S3), after Hinton et al. 2015. Chunked: (B, T, U+1, V) never exists.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, TermOptions
from dualtk.lattice.inputs import Softening
from dualtk.lattice.joint_kl import joint_kl
from dualtk.options import Unit


class FullKL:
    """KL(teacher || student) over the vocabulary in the student's cells; no gradient reaches the teacher.

    Args:
        temperature: divides the logits of both.
        top_k: compare the teacher's k most probable classes and the sum of all others; None: every class.
        reduction: over cells; on a pruned lattice, over those that are kept.
    """

    name = "full_kl"
    compares_lattices = False  # the student's cells, whatever the teacher's lattice keeps

    def __init__(self, *, temperature: float, top_k: int | None, reduction: Reduction) -> None:
        self.softening = Softening(temperature, top_k)
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        lattice = student.lattice()
        kl = joint_kl(
            student.run.joint(),
            teacher.run.joint(),
            lattice.logit_lengths,
            lattice.target_lengths,
            ranges=lattice.ranges,
            softening=self.softening,
        )
        return reduce_valid(kl, lattice.mask(), self.reduction)


class FullKLOptions(TermOptions):
    """Divergence of the output distributions of every cell (Kojima 2021, table 2, S3)."""

    name: Literal["full_kl"]
    """Which term."""
    temperature: PositiveFloat = 1.0
    """Divides the logits of both."""
    top_k: Annotated[PositiveInt, Unit("tokens")] | None = None
    """Compare the teacher's most probable classes, so many, and the sum of all others; null for every class."""

    def build(self) -> FullKL:
        """The term."""
        return FullKL(**self.arguments())
