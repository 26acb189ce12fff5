"""A second network as teacher: one that learns in the same steps, or one that is frozen.

Axes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from dualtk.distill.output_cache import OutputCache
from dualtk.distill.terms import Outcome
from dualtk.encoders import EncoderOptions
from dualtk.lattice.lattice import Lattice
from dualtk.modes import Mode, ModeOptions
from dualtk.options import Section
from dualtk.transducer.criterion import Criterion, LossOptions, PassLoss
from dualtk.transducer.ctc import CTCHead
from dualtk.transducer.joiner import AdditiveJoiner, TanhJoiner
from dualtk.transducer.model import ModelOptions, Pass, Transducer
from dualtk.transducer.predicted import Predicted

TEACHER = "teacher"  # names the pass of the second network, and its mode where it learns too


@dataclass
class TeacherOutput:
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

    def output(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> TeacherOutput:
        """Its pass, the losses of the student's passes and after them its own where it has a criterion, targets (B, U)
        with lengths (B,) -> what it gives."""
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

    def output(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> TeacherOutput:
        """See `Teacher`."""
        loss = losses[-1]
        return TeacherOutput(Outcome(run, lambda: loss.lattice), self.weight * loss.loss, loss.parts)


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

    def output(self, run: Pass, losses: Sequence[PassLoss], targets: Tensor, target_lengths: Tensor) -> TeacherOutput:
        """See `Teacher`; its lattice has the ranges of the student's."""

        @functools.cache
        @torch.no_grad()
        def lattice() -> Lattice:
            return run.lattice(targets, target_lengths, losses[0].lattice.ranges)

        return TeacherOutput(Outcome(run, lattice), torch.zeros_like(losses[0].loss), {})

    def _run(self, feats: Tensor, lengths: Tensor, predicted: Predicted) -> Pass:
        """Its pass over feats (B, T, F) as it reads them, with its predictor outputs (B, U+1, D)."""

        def fresh() -> Pass:
            with self.network.mode(self.mode):
                run: Pass = self.network(feats, lengths, predicted, return_heads=self.return_heads)
            return run

        if self.cache is None:
            return fresh()
        return Pass(
            self.cache(feats, lengths, lambda: fresh().encoded), predicted, self.network.joiner, self.network.ctc
        )


class CoLearnedTeacherOptions(Section):
    """What teachers have in common that learn in the same steps."""

    mode: ModeOptions
    """What it may see."""
    weight: NonNegativeFloat = 1.0
    """Of its own loss."""

    @abstractmethod
    def whole(self, student: ModelOptions) -> ModelOptions:
        """The teacher as a model of its own."""

    @abstractmethod
    def build_network(self, network: Transducer, model: ModelOptions) -> Transducer:
        """The teacher's network beside the student `network`, which `model` describes."""

    def build(
        self, network: Transducer, model: ModelOptions, loss: LossOptions, *, return_heads: bool
    ) -> CoLearnedTeacher:
        """The teacher beside the student `network`, which `model` describes."""
        taught = self.build_network(network, model)
        return CoLearnedTeacher(
            taught, loss.build(taught), self.mode.mode(TEACHER), self.weight, return_heads=return_heads
        )


class SharedDecoderTeacherOptions(CoLearnedTeacherOptions):
    """An encoder that learns in the same steps, with the student's predictor and joiner (CoDERT, section 3.3)."""

    name: Literal["shared_decoder"]
    """Which teacher."""
    encoder: EncoderOptions
    """Of the teacher; only its projection to the joiner is its own beside it."""

    def whole(self, student: ModelOptions) -> ModelOptions:
        """See `CoLearnedTeacherOptions`."""
        return student.model_copy(update={"encoder": self.encoder})

    def build_network(self, network: Transducer, model: ModelOptions) -> Transducer:
        """See `CoLearnedTeacherOptions`."""
        encoder = self.encoder.build(network.encoder.input_dim, [TEACHER])
        own = network.joiner
        joiner = model.joiner.build(encoder.output_dim, network.predictor.output_dim, own.vocab_size)
        joiner.predictor = own.predictor
        if isinstance(joiner, TanhJoiner) and own.output is not None:
            joiner.output = own.output
        if isinstance(joiner, AdditiveJoiner) and isinstance(own, AdditiveJoiner):
            joiner.scale = own.scale
        ctc = None if network.ctc is None else CTCHead(encoder.output_dim, own.vocab_size)
        return Transducer(encoder, network.predictor, joiner, network.feature_mean, network.feature_istd, ctc)


class SeparateTeacherOptions(CoLearnedTeacherOptions):
    """A whole network that learns in the same steps."""

    name: Literal["separate"]
    """Which teacher."""
    model: ModelOptions
    """The network; of the student's shape where the YAML does not say."""

    def whole(self, student: ModelOptions) -> ModelOptions:
        """See `CoLearnedTeacherOptions`."""
        return self.model

    def build_network(self, network: Transducer, model: ModelOptions) -> Transducer:
        """See `CoLearnedTeacherOptions`."""
        statistics = network.feature_mean, network.feature_istd
        with_ctc = network.ctc is not None
        return self.model.build([TEACHER], network.joiner.vocab_size, *statistics, with_ctc=with_ctc)


class FrozenTeacherOptions(Section):
    """A trained network in one of its modes, which stays as it is (`dualtk.trained.frozen_teacher` builds it)."""

    name: Literal["frozen"]
    """Which teacher."""
    exp: Path
    """Its experiment folder."""
    mode: str
    """One of its modes."""
    cache: bool = False
    """Keep its outputs on disk from one epoch to the next: float32 frames, and hidden vectors and heads of every block
    where a term reads them. Only without augmentation."""


TeacherOptions = Annotated[
    SharedDecoderTeacherOptions | SeparateTeacherOptions | FrozenTeacherOptions, Field(discriminator="name")
]
