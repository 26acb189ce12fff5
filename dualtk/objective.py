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
from dualtk.plan import PassPlan
from dualtk.pruning.pruner import Pruner
from dualtk.transducer.criterion import Criterion, PassLoss, losses_together
from dualtk.transducer.model import Pass, Transducer


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
        plan: which passes run in a step.
        terms: what is asked of one pass by another.
        teacher: a second network, whose pass is called "teacher".
        pruner: draws the masks of sparse modes.
        return_heads: keep the attention heads of each block, for a term that compares them.
        augment: on normalised feats (B, T, F), lengths (B,) and the step, in training; one draw serves all passes.
    """

    def __init__(
        self,
        network: Transducer,
        criterion: Criterion,
        plan: PassPlan,
        terms: Sequence[WeightedTerm] = (),
        *,
        teacher: Teacher | None = None,
        pruner: Pruner | None = None,
        return_heads: bool = False,
        augment: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.plan = plan
        self.terms = list(terms)
        self.teacher = teacher
        self.pruner = pruner
        self.return_heads = return_heads
        self.augment = augment

    def forward(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        """Raw feats (B, T, F) and lengths (B,), targets (B, U) and lengths (B,), step -> the step's loss."""
        feats = self.network.normalize(feats, feat_lengths)
        if self.training and self.augment is not None:
            feats = self.augment(feats, feat_lengths, step)
        predicted = self.network.predict(targets)

        planned = self.plan.at(step) if self.training else self.plan.passes
        runs = []
        for plan in planned:
            with self.network.mode(plan.mode):
                runs.append(self.network(feats, feat_lengths, predicted, return_heads=self.return_heads))
        heard = None if self.teacher is None else self.teacher(feats, feat_lengths, targets, runs[0])
        losses = self._losses(runs, heard, targets, target_lengths, step)

        utterance_losses = torch.stack([plan.weight * one.loss for plan, one in zip(planned, losses)]).sum(0)
        logged = {plan.mode.name: one.parts for plan, one in zip(planned, losses)}
        outcomes = {plan.mode.name: _outcome(run, one) for plan, run, one in zip(planned, runs, losses)}
        if self.teacher is not None and heard is not None:
            lesson = self.teacher.lesson(heard, losses, targets, target_lengths)
            utterance_losses = utterance_losses + lesson.losses
            logged[TEACHER], outcomes[TEACHER] = lesson.parts, lesson.outcome

        total = utterance_losses.mean()
        parts = {f"{name}/{key}": part.detach().mean() for name, ones in logged.items() for key, part in ones.items()}
        for weighted in self.terms:
            weight = weighted.weight_at(step)
            if (weight == 0.0 and self.training) or not {weighted.student, weighted.teacher} <= outcomes.keys():
                continue
            value = weighted(outcomes[weighted.student], outcomes[weighted.teacher])
            total = total + weight * value
            parts[f"{weighted.student}/{weighted.term.name}"] = value.detach()
        if self.pruner is not None:
            parts |= self.pruner.parts()
        return StepLoss(total, utterance_losses.detach(), parts)

    def _losses(
        self, runs: Sequence[Pass], heard: Pass | None, targets: Tensor, target_lengths: Tensor, step: int
    ) -> list[PassLoss]:
        """Of the network's passes; after them, that of the teacher's pass `heard`, where it learns too."""
        own = None if self.teacher is None else self.teacher.criterion
        if heard is None or own is None:
            return self.criterion(runs, targets, target_lengths, step)
        if any(weighted.teacher == TEACHER and weighted.term.compares_lattices for weighted in self.terms):
            return losses_together([*[self.criterion] * len(runs), own], [*runs, heard], targets, target_lengths, step)
        return self.criterion(runs, targets, target_lengths, step) + own([heard], targets, target_lengths, step)
