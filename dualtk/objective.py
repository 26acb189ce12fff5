"""What a step minimises: passes over one batch, and the terms between them (Dual-mode ASR, Algorithm 1).

Shapes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dualtk.distill.teacher import TEACHER, FrozenTeacher, Teacher
from dualtk.distill.terms import Outcome, WeightedTerm
from dualtk.plan import PassPlan, PlannedPasses
from dualtk.pruning.pruner import Pruner
from dualtk.trainable import StepLoss
from dualtk.transducer.criterion import Criterion, PassLoss, losses_together, with_ctc
from dualtk.transducer.ctc import CTCLoss, greedy_error_rates, unalignable
from dualtk.transducer.labels_alone import LabelsAlone
from dualtk.transducer.model import Pass, Transducer


def _outcome(run: Pass, loss: PassLoss) -> Outcome:
    return Outcome(run, lambda: loss.lattice)


class Objective(PlannedPasses):
    """The network, its passes and terms; a single forward runs them all.

    Args:
        network: the transducer that is trained.
        criterion: from passes to losses.
        plan: which passes run in a step.
        terms: what is asked of one pass by another.
        ctc: a loss beside that of the criterion, for every pass that learns; the networks have the head that it reads.
        teacher: a second network, whose pass is called "teacher".
        pruner: draws the masks of sparse modes.
        return_heads: keep the attention heads of each block, for a term that compares them.
        augment: on normalised feats (B, T, F), lengths (B,) and the step, in training; one draw serves all passes.
    """

    network: Transducer

    def __init__(
        self,
        network: Transducer,
        criterion: Criterion,
        plan: PassPlan,
        terms: Sequence[WeightedTerm] = (),
        *,
        ctc: CTCLoss | None = None,
        teacher: Teacher | None = None,
        pruner: Pruner | None = None,
        return_heads: bool = False,
        augment: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__(network, network.encoder.subsampling, plan, pruner)
        self.criterion = criterion
        self.terms = list(terms)
        self.ctc = ctc
        self.teacher = teacher
        self.return_heads = return_heads
        self.augment = augment
        self.labels_alone: LabelsAlone | None = None

    def forward(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        """Raw feats (B, T, F) and lengths (B,), targets (B, U) and lengths (B,), step -> the step's loss."""
        feats = self.network.normalize(feats, feat_lengths)
        if self.training and self.augment is not None:
            feats = self.augment(feats, feat_lengths, step)
        predicted = self.network.predict(targets)

        planned = self.planned(step)
        runs = []
        for plan in planned:
            with self.network.mode(plan.mode):
                runs.append(self.network(feats, feat_lengths, predicted, return_heads=self.return_heads))
        teacher_pass = None if self.teacher is None else self.teacher(feats, feat_lengths, targets, runs[0])
        losses = self._losses(runs, teacher_pass, targets, target_lengths, step)
        if self.ctc is not None:
            learning = zip(losses, runs if teacher_pass is None else [*runs, teacher_pass])
            losses = [with_ctc(one, run, self.ctc, targets, target_lengths, step) for one, run in learning]

        utterance_losses = torch.stack([plan.weight * one.loss for plan, one in zip(planned, losses)]).sum(0)
        logged = {plan.mode.name: one.parts for plan, one in zip(planned, losses)}
        outcomes = {plan.mode.name: _outcome(run, one) for plan, run, one in zip(planned, runs, losses)}
        if self.teacher is not None and teacher_pass is not None:
            taught = self.teacher.output(teacher_pass, losses, targets, target_lengths)
            utterance_losses = utterance_losses + taught.losses
            logged[TEACHER], outcomes[TEACHER] = taught.parts, taught.outcome

        total = utterance_losses.mean()
        parts = {f"{name}/{key}": part.detach().mean() for name, ones in logged.items() for key, part in ones.items()}
        for weighted in self.terms:
            weight = weighted.weight_at(step)
            if (weight == 0.0 and self.training) or not {weighted.student, weighted.teacher} <= outcomes.keys():
                continue
            value = weighted(outcomes[weighted.student], outcomes[weighted.teacher])
            total = total + weight * value
            parts[f"{weighted.student}/{weighted.term.name}"] = value.detach()
        if self.ctc is not None:
            parts["ctc_unalignable"] = unalignable(runs[0].encoded.lengths, targets, target_lengths).float().mean()
            if not self.training:
                for plan, run in zip(planned, runs):
                    wrong = greedy_error_rates(run.ctc_log_probs, run.encoded.lengths, targets, target_lengths)
                    parts[f"{plan.mode.name}/ctc_errors"] = wrong.mean()
        return StepLoss(total, utterance_losses.detach(), parts | self.sparsities())

    def _losses(
        self, runs: Sequence[Pass], teacher_pass: Pass | None, targets: Tensor, target_lengths: Tensor, step: int
    ) -> list[PassLoss]:
        """Of the network's passes; after them, that of the teacher's pass, where it learns too."""
        own = None if self.teacher is None else self.teacher.criterion
        if teacher_pass is None or own is None:
            return self.criterion(runs, targets, target_lengths, step)
        if any(weighted.teacher == TEACHER and weighted.term.compares_lattices for weighted in self.terms):
            return losses_together(
                [*[self.criterion] * len(runs), own], [*runs, teacher_pass], targets, target_lengths, step
            )
        return self.criterion(runs, targets, target_lengths, step) + own([teacher_pass], targets, target_lengths, step)

    def networks(self) -> dict[str, nn.Module]:
        """See `Trainable`: the student, and a teacher that learns beside it."""
        found = super().networks()
        if self.teacher is not None and self.teacher.criterion is not None:
            found[TEACHER] = self.teacher.network
        return found

    def independent_parts(self) -> dict[str, list[nn.Parameter]]:
        """See `Trainable`: what is the teacher's alone, and all else; a decoder that both have is the student's."""
        if self.teacher is None or self.teacher.criterion is None:
            return super().independent_parts()
        parts: dict[str, list[nn.Parameter]] = {"": [], TEACHER: []}
        for name, parameter in self.named_parameters():  # a shared one has the name that it has in the student
            parts[TEACHER if name.startswith(f"{TEACHER}.") else ""].append(parameter)
        return parts

    def training_state(self) -> dict[str, Tensor]:
        """See `Trainable`: all but a frozen teacher, which is read from its own folder each time."""
        state = super().training_state()
        if not isinstance(self.teacher, FrozenTeacher):
            return state
        return {key: value for key, value in state.items() if not key.startswith(f"{TEACHER}.")}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Trainable`."""
        trained = self.training_state().keys()
        super().load_training_state(
            {**state, **{key: value for key, value in self.state_dict().items() if key not in trained}}
        )

    def choice_loss(self, values: Mapping[str, float]) -> float:
        """See `Trainable`: the mean transducer loss of the passes that are decoded later.

        The total would also hold distillation terms, auxiliary losses and a co-learned teacher's loss, whose weights
        differ from system to system and grow during training; a network chosen by it would be compared with others by
        something else than what it is for.
        """
        own = [value for key, value in values.items() if key.endswith("/rnnt") and key != f"{TEACHER}/rnnt"]
        return statistics.fmean(own)

    def warnings(self, values: Mapping[str, float], step: int) -> list[str]:
        """See `Trainable`: a line for each mode that does not know yet which frames belong to which labels.

        That is told by `labels_alone`, where it was set: what the validation would give without any audio.
        """
        if self.labels_alone is None:
            return []
        lines = self.labels_alone.warnings(values, [plan.mode.name for plan in self.plan.passes], step)
        if lines and self.ctc is None:
            lines.append("a section `ctc` finds alignments sooner; so do fewer tokens, and more and smaller batches")
        elif lines:
            lines.append("fewer tokens, more and smaller batches, and one mode at a time find alignments sooner")
        return lines
