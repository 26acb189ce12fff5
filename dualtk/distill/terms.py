"""Distillation: a term compares two passes of a step, and has a weight that may start late and grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from dualtk.distill.reduction import Reduction
from dualtk.errors import InputError
from dualtk.lattice.lattice import Lattice
from dualtk.options import Section, Unit
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
    start_step: int
    warmup_steps: int
    key: str

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


class TermOptions(Section):
    """Between which passes a term is, and how its weight grows.

    Attributes:
        reads: what of the encoder's blocks the term reads beside the frames.
        alike: options in which the encoders of student and teacher must agree.
        needs_joiner: the name of the joiner that it needs.
        needs_ctc: it reads the CTC heads of both networks.
    """

    reads: ClassVar[Literal["hidden", "heads"] | None] = None
    alike: ClassVar[tuple[str, ...]] = ()
    needs_joiner: ClassVar[str | None] = None
    needs_ctc: ClassVar[bool] = False

    student: str
    """The pass that learns, by its mode."""
    teacher: str
    """The pass that it is compared with, by its mode, or `teacher` for the pass of a second network."""
    weight: NonNegativeFloat = 1.0
    """Of the term beside the transducer losses, once it has grown."""
    start_step: Annotated[NonNegativeInt, Unit("steps")] = 0
    """The weight is 0 before."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 0
    """Over which the weight grows linearly."""
    reduction: Reduction = "mean"
    """`sum` over an utterance, as the papers print it, or `mean` over all that is compared in the batch."""

    def arguments(self) -> dict[str, Any]:
        """The options of the term itself."""
        schedule = {"student", "teacher", "weight", "start_step", "warmup_steps"}
        return {key: value for key, value in super().arguments().items() if key not in schedule}

    def weighted(self, term: Term, key: str) -> WeightedTerm:
        """`term` between these passes; `key` names it in errors."""
        return WeightedTerm(term, self.student, self.teacher, self.weight, self.start_step, self.warmup_steps, key)


class ShiftedTermOptions(TermOptions):
    """What terms have in common whose teacher may be moved in time, and learn too."""

    shift: Annotated[int, Field(ge=-16, le=16), Unit("encoder frames")] = 0
    """Frames by which the teacher is moved later before it is compared: a streaming mode emits later."""
    symmetric: bool = False
    """Add the divergence in the other direction, in which the student is held still."""
