"""What a step minimises: passes over one batch, and the terms between them (Dual-mode ASR, Algorithm 1).

Shapes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dualtk.distill.teacher import TEACHER, Teacher
from dualtk.distill.terms import Outcome, WeightedTerm
from dualtk.modes import Mode
from dualtk.pruning.pruner import Pruner
from dualtk.pruning.sandwich import sandwich
from dualtk.transducer.criterion import Criterion, PassLoss
from dualtk.transducer.model import Pass, Transducer


@dataclass(frozen=True)
class PlannedPass:
    """A run of the network in each step: its mode and the weight of its loss."""

    mode: Mode
    weight: float = 1.0


@dataclass
class StepLoss:
    """What one step found.

    Attributes:
        total: scalar to minimise.
        utterance_losses: (B,) weighted losses of all passes, a teacher's too; not finite for one at fault.
        parts: named scalars for the log, detached.
    """

    total: Tensor
    utterance_losses: Tensor
    parts: dict[str, Tensor]


def _outcome(run: Pass, loss: PassLoss) -> Outcome:
    return Outcome(run, lambda: loss.lattice)


class Objective(nn.Module):
    """The network, its passes and terms; a single forward runs them all, so that DDP can wrap it.

    Args:
        network: the transducer that is trained.
        criterion: from passes to losses.
        passes: what runs in each step.
        terms: what is asked of one pass by another.
        teacher: a second network, whose pass is called "teacher".
        sampling: probability of each mode; where given, one pass is drawn for a step (randomly sampled training).
        sampling_steps: steps after which all passes run (joint training); None: sampled to the end.
        pruner: draws the masks of sparse modes.
        sandwich: of the streaming passes, the smallest, the largest and one other run in a step.
        return_heads: keep the attention heads of each block, for a term that compares them.
        augment: on normalised feats (B, T, F), lengths (B,) and the step, in training; one draw serves all passes.
        seed: of the draws of `sampling` and `sandwich`.
    """

    def __init__(
        self,
        network: Transducer,
        criterion: Criterion,
        passes: Sequence[PlannedPass],
        terms: Sequence[WeightedTerm] = (),
        *,
        teacher: Teacher | None = None,
        sampling: dict[str, float] | None = None,
        sampling_steps: int | None = None,
        pruner: Pruner | None = None,
        sandwich: bool = False,
        return_heads: bool = False,
        augment: Callable[[Tensor, Tensor, int], Tensor] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.passes = list(passes)
        self.terms = list(terms)
        self.teacher = teacher
        self.sampling = sampling
        self.sampling_steps = sampling_steps
        self.pruner = pruner
        self.sandwich = sandwich
        self.return_heads = return_heads
        self.augment = augment
        self.seed = seed

    def draws_passes(self, step: int) -> bool:
        """Whether steps such as `step` leave out some passes."""
        return self.sandwich or self._samples(step)

    def _samples(self, step: int) -> bool:
        """Whether `step` runs one pass that is drawn."""
        return self.sampling is not None and (self.sampling_steps is None or step < self.sampling_steps)

    @property
    def settled_step(self) -> int:
        """The last step that changes the size of a network; networks up to it are not kept with those after it."""
        return -1 if self.pruner is None else self.pruner.settled_step

    def before_step(self, step: int) -> None:
        """What changes between steps: masks."""
        if self.pruner is not None:
            self.pruner.update(step)

    def forward(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        """Raw feats (B, T, F) and lengths (B,), targets (B, U) and lengths (B,), step -> the step's loss."""
        feats = self.network.normalize(feats, feat_lengths)
        if self.training and self.augment is not None:
            feats = self.augment(feats, feat_lengths, step)
        predicted = self.network.predict(targets)

        planned = self._planned(step)
        runs = []
        for plan in planned:
            with self.network.mode(plan.mode):
                runs.append(self.network(feats, feat_lengths, predicted, return_heads=self.return_heads))
        losses = self.criterion(runs, targets, target_lengths, step)

        utterance_losses = torch.stack([plan.weight * one.loss for plan, one in zip(planned, losses)]).sum(0)
        logged = {plan.mode.name: one.parts for plan, one in zip(planned, losses)}
        outcomes = {plan.mode.name: _outcome(run, one) for plan, run, one in zip(planned, runs, losses)}
        if self.teacher is not None:
            first = outcomes[planned[0].mode.name]
            lesson = self.teacher(feats, feat_lengths, targets, target_lengths, step, first)
            utterance_losses = utterance_losses + lesson.losses
            logged[TEACHER], outcomes[TEACHER] = lesson.parts, lesson.outcome

        total = utterance_losses.mean()
        parts = {f"{name}/{key}": part.detach().mean() for name, ones in logged.items() for key, part in ones.items()}
        for weighted in self.terms:
            weight = weighted.weight_at(step)
            if (weight == 0.0 and self.training) or not {weighted.student, weighted.teacher} <= outcomes.keys():
                continue
            value = weighted.term(outcomes[weighted.student], outcomes[weighted.teacher])
            total = total + weight * value
            parts[f"{weighted.student}/{weighted.term.name}"] = value.detach()
        if self.pruner is not None:
            parts |= {f"{name}/sparsity": torch.tensor(value) for name, value in self.pruner.sparsities().items()}
        return StepLoss(total, utterance_losses.detach(), parts)

    def _planned(self, step: int) -> list[PlannedPass]:
        """All passes; with sampling, the one drawn for `step` (the same on every process); or those of the sandwich."""
        if not self.training:
            return self.passes
        if self.sandwich:
            chosen = sandwich([plan.mode for plan in self.passes], self.seed, step)
            return [plan for plan in self.passes if plan.mode in chosen]
        if self.sampling is None or not self._samples(step):
            return self.passes
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        weights = torch.tensor([self.sampling[plan.mode.name] for plan in self.passes])
        return [self.passes[int(torch.multinomial(weights, 1, generator=generator))]]
