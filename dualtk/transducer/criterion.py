"""From passes to lattices and losses: exact, or pruned (Kuang et al. 2022).

Every pass of a step is treated together, since pruned lattices that are to be compared need common ranges.

Shapes: B batch, T frames, U labels, V vocabulary, S prune range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from dualtk.lattice.lattice import Lattice, ScoredLattice
from dualtk.lattice.loss import rnnt_loss_simple
from dualtk.lattice.ranges import prune_ranges
from dualtk.options import Probability, Section, Unit
from dualtk.transducer.ctc import CTCLoss
from dualtk.transducer.model import Pass, Transducer

Backend = Literal["auto", "k2", "numba", "triton", "torchaudio", "torch"]


@dataclass
class PassLoss:
    """The loss of one pass.

    Attributes:
        lattice: log-probabilities of blank and label in each cell.
        loss: (B,) what training minimises.
        parts: named (B,) losses that make it up, for the log.
    """

    lattice: Lattice
    loss: Tensor
    parts: dict[str, Tensor]


class Criterion(Protocol):
    """Lattices and losses of the passes of one step."""

    def __call__(self, passes: Sequence[Pass], targets: Tensor, target_lengths: Tensor, step: int) -> list[PassLoss]:
        """Passes over the same batch, targets (B, U) and their lengths (B,), training step -> a loss for each pass."""
        ...


class ExactLoss(nn.Module):
    """The transducer loss over the whole lattice (Graves 2012).

    Args:
        all: see `ExactLossOptions`.
    """

    def __init__(self, *, fastemit_lambda: float, delay_penalty: float, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self.fastemit_lambda = fastemit_lambda
        self.delay_penalty = delay_penalty

    def forward(self, passes: Sequence[Pass], targets: Tensor, target_lengths: Tensor, step: int) -> list[PassLoss]:
        """See `Criterion`."""
        losses = []
        for one in passes:
            lattice = one.lattice(targets, target_lengths, backend=self.backend)
            loss = lattice.loss(
                "none",
                fastemit_lambda=self.fastemit_lambda,
                delay_penalty=self.delay_penalty,
                backend=self.backend,
            )
            losses.append(PassLoss(lattice, loss, {"rnnt": loss}))
        return losses


class PrunedLoss(nn.Module):
    """Smoothed simple loss, prune ranges from its posteriors, transducer loss on the ranges (Kuang et al. 2022).

    All passes share one set of ranges, that covers each of them.

    Args:
        encoder_dim, predictor_dim, vocab_size: of the network; the simple joint has projections of its own.
        others: see `PrunedLossOptions`.
    """

    def __init__(
        self,
        encoder_dim: int,
        predictor_dim: int,
        vocab_size: int,
        *,
        prune_range: int,
        simple_scale: float,
        lm_scale: float,
        am_scale: float,
        warmup_steps: int,
        fastemit_lambda: float,
        delay_penalty: float,
        backend: str,
    ) -> None:
        super().__init__()
        self.backend = backend
        self.simple_encoder = nn.Linear(encoder_dim, vocab_size)
        self.simple_predictor = nn.Linear(predictor_dim, vocab_size)
        self.prune_range = prune_range
        self.simple_scale = simple_scale
        self.lm_scale = lm_scale
        self.am_scale = am_scale
        self.warmup_steps = warmup_steps
        self.fastemit_lambda = fastemit_lambda
        self.delay_penalty = delay_penalty

    def weights(self, step: int) -> tuple[float, float]:
        """Weights of the simple and of the pruned loss at `step`."""
        progress = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        return 1.0 - progress * (1.0 - self.simple_scale), 0.1 + 0.9 * progress

    def forward(self, passes: Sequence[Pass], targets: Tensor, target_lengths: Tensor, step: int) -> list[PassLoss]:
        """See `Criterion`."""
        return losses_together([self] * len(passes), passes, targets, target_lengths, step)

    def simple(self, run: Pass, targets: Tensor, target_lengths: Tensor) -> ScoredLattice:
        """Targets (B, U) with lengths (B,) -> (B,) simple loss of a pass, and the occupation its ranges follow from."""
        return rnnt_loss_simple(
            self.simple_encoder(run.encoded.frames),
            run.predicted.through(self.simple_predictor),
            targets,
            run.encoded.lengths,
            target_lengths,
            lm_scale=self.lm_scale,
            am_scale=self.am_scale,
            delay_penalty=self.delay_penalty,
            reduction="none",
            backend=self.backend,
            return_occupation=True,
        )

    def combine(self, lattice: Lattice, simple_loss: Tensor, step: int) -> PassLoss:
        """The pruned lattice of a pass and its simple loss (B,) -> its loss at training step `step`."""
        simple_weight, pruned_weight = self.weights(step)
        pruned = lattice.loss(
            "none", fastemit_lambda=self.fastemit_lambda, delay_penalty=self.delay_penalty, backend=self.backend
        )
        loss = simple_weight * simple_loss + pruned_weight * pruned
        return PassLoss(lattice, loss, {"rnnt": pruned, "simple": simple_loss})


def losses_together(
    criteria: Sequence[Criterion], passes: Sequence[Pass], targets: Tensor, target_lengths: Tensor, step: int
) -> list[PassLoss]:
    """The losses of passes that have a criterion each; where these prune, by one set of ranges that covers all passes.

    Args:
        criteria: of each pass.
        passes: over the same batch; they may be of different networks.
        targets, target_lengths: (B, U) and (B,).
        step: training step.
    """
    pruned = [one for one in criteria if isinstance(one, PrunedLoss)]
    if len(pruned) < len(passes):  # whole lattices have every cell
        pairs = zip(criteria, passes)
        return [loss for criterion, run in pairs for loss in criterion([run], targets, target_lengths, step)]
    simple = [criterion.simple(run, targets, target_lengths) for criterion, run in zip(pruned, passes)]
    # The frames of all passes have one clock, so one set of ranges can serve them all.
    first, *others = [one.occupation for one in simple]
    width = max(one.prune_range for one in pruned)
    ranges = prune_ranges(first, passes[0].encoded.lengths, target_lengths, width, *others)
    return [
        criterion.combine(run.lattice(targets, target_lengths, ranges, backend=criterion.backend), one.loss, step)
        for criterion, run, one in zip(pruned, passes, simple)
    ]


def with_ctc(loss: PassLoss, run: Pass, ctc: CTCLoss, targets: Tensor, target_lengths: Tensor, step: int) -> PassLoss:
    """The loss of a pass and, beside it, its CTC loss with the weight of training step `step`."""
    # Computed at weight 0 too: the log shows it, and every process has a gradient of the head in each step.
    value = ctc(run.ctc_log_probs, run.encoded.lengths, targets, target_lengths)
    return PassLoss(loss.lattice, loss.loss + ctc.weight_at(step) * value, {**loss.parts, "ctc": value})


class RecursionOptions(Section):
    """What the losses have in common."""

    fastemit_lambda: NonNegativeFloat = 0.0
    """FastEmit's weight (Yu et al. 2021): gradients through labels are multiplied by 1 + lambda; not those of the
    simple loss beside a pruned one."""
    delay_penalty: float = 0.0
    """Bonus for each frame by which a label is early (Kang et al. 2022), on the simple loss too."""
    backend: Backend = "auto"
    """What computes it; `auto` is the best that works on the device."""


class ExactLossOptions(RecursionOptions):
    """The transducer loss over the whole lattice (Graves 2012)."""

    name: Literal["exact"]
    """Which loss."""

    def build(self, network: Transducer) -> ExactLoss:
        """The loss of passes of `network`."""
        return ExactLoss(**self.arguments())


class PrunedLossOptions(RecursionOptions):
    """The transducer loss on ranges of labels that a simple joint chooses (Kuang et al. 2022)."""

    name: Literal["pruned"]
    """Which loss."""
    prune_range: Annotated[int, Field(ge=2), Unit("labels")] = 5
    """Labels kept for each frame: 5 in the paper, for frames of 40 ms. Longer frames want more: labels go by faster,
    and the simple joint is less sure of its path in streaming."""
    simple_scale: NonNegativeFloat = 0.5
    """Weight of the simple loss after the warm-up."""
    lm_scale: Probability = 0.25
    """Smoothing of the simple joint by labels alone (Kuang et al. 2022, section 3.2)."""
    am_scale: Probability = 0.0
    """Smoothing of the simple joint by frames alone."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 2000
    """The simple loss goes from weight 1 to `simple_scale`, the pruned from 0.1 to 1."""

    def build(self, network: Transducer) -> PrunedLoss:
        """The loss of passes of `network`; its simple joint has projections of its own."""
        dims = network.encoder.output_dim, network.predictor.output_dim, network.joiner.vocab_size
        return PrunedLoss(*dims, **self.arguments())


LossOptions = Annotated[ExactLossOptions | PrunedLossOptions, Field(discriminator="name")]
