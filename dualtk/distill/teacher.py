"""A second network as teacher: one that learns in the same steps, or one that is frozen.

Axes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dualtk.distill.joint import lattice_on
from dualtk.distill.terms import Outcome
from dualtk.modes import Mode
from dualtk.transducer.criterion import Criterion
from dualtk.transducer.lattice import Lattice
from dualtk.transducer.model import Transducer

TEACHER = "teacher"  # names the pass of the second network, and its mode where it learns too


@dataclass
class Lesson:
    """What a teacher gives in one step.

    Attributes:
        outcome: its pass, for the terms.
        losses: (B,) its own weighted loss; zero for a frozen teacher.
        parts: named (B,) losses for the log.
    """

    outcome: Outcome
    losses: Tensor
    parts: dict[str, Tensor]


class Teacher(Protocol):
    """What the objective asks of a second network."""

    network: Transducer

    def __call__(
        self, feats: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int, student: Outcome
    ) -> Lesson:
        """The student's normalised feats (B, T, F) with lengths (B,), targets (B, U) with lengths (B,), training step,
        and the student's first pass -> the lesson."""
        ...


class CoLearnedTeacher(nn.Module):
    """A teacher that is trained by its own transducer loss in the same steps (CoDERT, section 3.3, equation 2).

    Its loss has parameters and prune ranges of its own; a term compares the cells that both lattices keep.

    Args:
        network: all of the teacher; where it has the student's predictor and joiner, they are the same modules.
        criterion: from its pass to its loss.
        mode: the mode that it runs in.
        weight: of its loss.
    """

    def __init__(self, network: Transducer, criterion: Criterion, mode: Mode, weight: float) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.mode = mode
        self.weight = weight

    def forward(
        self, feats: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int, student: Outcome
    ) -> Lesson:
        """See `Teacher`."""
        shares_decoder = self.network.joiner.predictor is student.run.joiner.predictor
        predicted = student.run.predicted if shares_decoder else self.network.predict(targets)
        with self.network.mode(self.mode):
            run = self.network(feats, lengths, predicted)
        (loss,) = self.criterion([run], targets, target_lengths, step)
        return Lesson(Outcome(run, lambda: loss.lattice), self.weight * loss.loss, loss.parts)


class FrozenTeacher(nn.Module):
    """A trained teacher that stays as it is: evaluation mode, no gradient, no loss (Kojima 2021, section 3).

    Args:
        network: the trained network.
        mode: the mode that it runs in.
        student_mean, student_istd: (F,) by which the features it is given were normalised; it has its own.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: Transducer, mode: Mode, student_mean: Tensor, student_istd: Tensor) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.mode = mode
        self.register_buffer("scale", network.feature_istd / student_istd)
        self.register_buffer("offset", (student_mean - network.feature_mean) * network.feature_istd)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stays in evaluation mode whatever the objective is put into."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, feats: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int, student: Outcome
    ) -> Lesson:
        """See `Teacher`."""
        with self.network.mode(self.mode):
            run = self.network(feats * self.scale + self.offset, lengths, self.network.predict(targets))

        @functools.cache
        @torch.no_grad()
        def lattice() -> Lattice:
            return lattice_on(run, targets, target_lengths, student.lattice().ranges)

        return Lesson(Outcome(run, lattice), feats.new_zeros(feats.shape[0]), {})
