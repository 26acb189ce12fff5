"""A second network as teacher: one that learns in the same steps, or one that is frozen.

Axes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from dualtk.distill.output_cache import OutputCache
from dualtk.distill.terms import Outcome
from dualtk.lattice.lattice import Lattice
from dualtk.modes import Mode
from dualtk.transducer.criterion import Criterion, PassLoss
from dualtk.transducer.model import Pass, Transducer
from dualtk.transducer.predicted import Predicted

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
    """What the objective asks of a second network.

    Attributes:
        network: all of it.
        criterion: from its pass to a loss of its own; None where it is frozen.
    """

    network: Transducer

    @property
    def criterion(self) -> Criterion | None:
        """See above."""
        ...

    def __call__(self, feats: Tensor, lengths: Tensor, targets: Tensor, student: Pass) -> Pass:
        """The student's normalised feats (B, T, F) with lengths (B,), targets (B, U), and the student's first pass ->
        its own pass."""
        ...

    def lesson(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> Lesson:
        """Its pass, the losses of the student's passes and after them its own where it has a criterion, targets (B, U)
        with lengths (B,) -> the lesson."""
        ...


class CoLearnedTeacher(nn.Module):
    """A teacher that is trained by its own transducer loss in the same steps (CoDERT, section 3.3, equation 2).

    Its loss has parameters of its own, and prune ranges of its own unless a term compares lattices.

    Args:
        network: all of the teacher; where it has the student's predictor and joiner, they are the same modules.
        criterion: from its pass to its loss.
        mode: the mode that it runs in.
        weight: of its loss.
        return_heads: keep the attention heads of each block, for a term that compares them.
    """

    def __init__(
        self, network: Transducer, criterion: Criterion, mode: Mode, weight: float, *, return_heads: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.mode = mode
        self.weight = weight
        self.return_heads = return_heads

    def forward(self, feats: Tensor, lengths: Tensor, targets: Tensor, student: Pass) -> Pass:
        """See `Teacher`."""
        shares_decoder = self.network.joiner.predictor is student.joiner.predictor
        predicted = student.predicted if shares_decoder else self.network.predict(targets)
        with self.network.mode(self.mode):
            run: Pass = self.network(feats, lengths, predicted, return_heads=self.return_heads)
        return run

    def lesson(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> Lesson:
        """See `Teacher`."""
        loss = losses[-1]
        return Lesson(Outcome(run, lambda: loss.lattice), self.weight * loss.loss, loss.parts)


class FrozenTeacher(nn.Module):
    """A trained teacher that stays as it is: evaluation mode, no gradient, no loss (Kojima 2021, section 3).

    Args:
        network: the trained network.
        mode: the mode that it runs in.
        student_mean, student_istd: (F,) by which the features it is given were normalised; it has its own.
        return_heads: keep the attention heads of each block, for a term that compares them.
        cache: where its encoder's outputs are kept from one epoch to the next; only without augmentation.
    """

    criterion = None
    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        network: Transducer,
        mode: Mode,
        student_mean: Tensor,
        student_istd: Tensor,
        *,
        return_heads: bool = False,
        cache: OutputCache | None = None,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.mode = mode
        self.return_heads = return_heads
        self.cache = cache
        self.register_buffer("scale", network.feature_istd / student_istd)
        self.register_buffer("offset", (student_mean - network.feature_mean) * network.feature_istd)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stays in evaluation mode whatever the objective is put into."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, feats: Tensor, lengths: Tensor, targets: Tensor, student: Pass) -> Pass:
        """See `Teacher`."""
        return self._run(feats * self.scale + self.offset, lengths, self.network.predict(targets))

    def lesson(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> Lesson:
        """See `Teacher`; its lattice has the ranges of the student's."""

        @functools.cache
        @torch.no_grad()
        def lattice() -> Lattice:
            return run.lattice(targets, target_lengths, losses[0].lattice.ranges)

        return Lesson(Outcome(run, lattice), torch.zeros_like(losses[0].loss), {})

    def _run(self, feats: Tensor, lengths: Tensor, predicted: Predicted) -> Pass:
        """Its pass over feats (B, T, F) as it hears them, with its predictor outputs (B, U+1, D)."""

        def fresh() -> Pass:
            with self.network.mode(self.mode):
                run: Pass = self.network(feats, lengths, predicted, return_heads=self.return_heads)
            return run

        if self.cache is None:
            return fresh()
        return Pass(self.cache(feats, lengths, lambda: fresh().encoded), predicted, self.network.joiner)
