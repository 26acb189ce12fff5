"""The seam of distillation: a term compares two passes of a step, and has a weight that may start late and grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from dualtk.errors import InputError
from dualtk.lattice.lattice import Lattice
from dualtk.transducer.model import Pass


@dataclass
class Outcome:
    """A pass, as far as a term may look at it.

    Attributes:
        run: encoder frames, hidden vectors, predictor outputs and joiner.
        lattice: gives its lattice; that of a frozen teacher is made only if a term asks.
    """

    run: Pass
    lattice: Callable[[], Lattice]


class Term(Protocol):
    """One distillation objective.

    Attributes:
        name: in configurations and logs.
        compares_lattices: it compares the cells of one lattice with the same cells of the other, so that both should
            be pruned alike.
    """

    name: str
    compares_lattices: bool

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """Scalar: how far the student is from the teacher."""
        ...


@dataclass(frozen=True)
class WeightedTerm:
    """A term between two passes, with its weight's schedule.

    Attributes:
        term: what to compute.
        student, teacher: names of the passes: that of the mode, or "teacher" for the pass of a second network.
        weight: the weight reached after the warm-up.
        start_step, warmup_steps: the weight is 0 before `start_step` and grows linearly over `warmup_steps`.
        key: of the term in the configuration, for errors.
    """

    term: Term
    student: str
    teacher: str
    weight: float
    start_step: int = 0
    warmup_steps: int = 0
    key: str = "terms"

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """Scalar, without the weight.

        Raises:
            InputError: the two cannot be compared; names the term's key.
        """
        try:
            return self.term(student, teacher)
        except InputError as error:
            raise InputError(f"{self.key}: {error}") from error

    def weight_at(self, step: int) -> float:
        """The weight at training step `step`."""
        if step < self.start_step:
            return 0.0
        return self.weight * min(1.0, (step - self.start_step + 1) / max(1, self.warmup_steps))
