"""What a step of pre-training minimises: the passes of a supernet over one masked batch (wav2vec 2.0, section 3.2).

"Learning a Dual-Mode Speech Recognition Model via Self-Pruning" (Liu et al. 2022): the dense full-context pass and the
sparse streaming one are pre-trained together.

Axes: B batch, T feature frames, T' encoder frames, M masked frames, K distractors, F features.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.nn.spans import SpanMask
from dualtk.options import Probability, Section, Unit
from dualtk.plan import PassPlan, PlannedPasses
from dualtk.pruning.pruner import Pruner
from dualtk.ssl.collapse import CollapseWatch
from dualtk.ssl.contrastive import contrast, contrastive_logits
from dualtk.ssl.distractors import draw_distractors
from dualtk.ssl.masking import MaskedFrames, mask_rate
from dualtk.ssl.network import MaskedPass, PretrainingNetwork
from dualtk.ssl.penalties import diversity_loss
from dualtk.ssl.quantizer import QuantizerOptions, Temperature
from dualtk.trainable import StepLoss

EVALUATION_SEED = 1  # whatever the seed of training, so that runs are compared on the same masks


class ContrastiveTask(Section):
    """What is asked of a pass (section 3.2)."""

    num_distractors: Annotated[PositiveInt, Unit("masked frames")] = 100
    """Among which the target is told."""
    kappa: PositiveFloat = 0.1
    """Temperature of the similarities."""
    diversity_weight: NonNegativeFloat = 0.1
    """Of the diversity loss beside the contrastive one."""
    penalty_weight: NonNegativeFloat = 10.0
    """Of the mean square of the extracted features."""


class MaskingOptions(Section):
    """The spans of frames that are hidden (section 3.1)."""

    probability: Probability = 0.065
    """Of a frame to begin a span."""
    length: Annotated[PositiveInt, Unit("encoder frames")] = 10
    """Frames of a span."""

    def build(self) -> SpanMask:
        """What draws them; an utterance of at least one span's length has at least one."""
        return SpanMask(self.probability, self.length, always=True)


@dataclass(frozen=True)
class Draw:
    """What chance decided for a batch; all passes share it.

    Attributes:
        mask: (B, T') bool.
        frames: the masked frames.
        distractors: (B, M, K) positions among them.
    """

    mask: Tensor
    frames: MaskedFrames
    distractors: Tensor


@dataclass(frozen=True)
class _Outcome:
    """One pass' losses and what the log says of it.

    Attributes:
        total: scalar.
        utterance_losses: (B,).
        parts: named scalars of this pass.
        shared: named scalars of which the log has the mean over passes.
        perplexities: (G,) of the codebook.
    """

    total: Tensor
    utterance_losses: Tensor
    parts: dict[str, Tensor]
    shared: dict[str, Tensor]
    perplexities: Tensor


class Pretraining(PlannedPasses):
    """The network and its passes; a single forward runs them all.

    Losses are in nats for each masked frame. In training masks, distractors and codes follow torch's global state;
    in evaluation they depend on the batch alone.

    Args:
        network: the network that is trained.
        plan: which passes run in a step.
        task: what is asked of each.
        masking: which frames are masked.
        temperature: of the quantiser, step by step.
        pruner: draws the masks of sparse modes.
    """

    network: PretrainingNetwork

    def __init__(
        self,
        network: PretrainingNetwork,
        plan: PassPlan,
        task: ContrastiveTask,
        masking: SpanMask,
        temperature: Temperature,
        *,
        pruner: Pruner | None = None,
    ) -> None:
        super().__init__(network, network.encoder.subsampling, plan, pruner)
        self.task = task
        self.masking = masking
        self.temperature = temperature
        self.collapse = CollapseWatch(network.quantizer.entries)

    def forward(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        """Raw feats (B, T, F) and lengths (B,), step -> the step's loss; labels are there and not used."""
        feats = self.network.normalize(feats, feat_lengths)
        subsampling = self.network.encoder.subsampling
        lengths = torch.div(feat_lengths + subsampling - 1, subsampling, rounding_mode="floor")
        draw = self.draw(lengths, -(-feats.size(1) // subsampling))
        temperature = self.temperature.at(step)

        planned = self.planned(step)
        outcomes = []
        for plan in planned:
            run = self.network(feats, feat_lengths, plan.mode, draw.mask, draw.frames, temperature)
            outcomes.append(self._outcome(run, draw))
        total = torch.stack([plan.weight * one.total for plan, one in zip(planned, outcomes)]).sum()
        utterance_losses = torch.stack([plan.weight * one.utterance_losses for plan, one in zip(planned, outcomes)])

        parts = {
            f"{plan.mode.name}/{key}": value for plan, one in zip(planned, outcomes) for key, value in one.parts.items()
        }
        parts |= {key: torch.stack([one.shared[key] for one in outcomes]).mean() for key in outcomes[0].shared}
        # A group can collapse, or the codes of one mode, while the sum of all seems healthy.
        parts["least_perplexity"] = torch.stack([one.perplexities for one in outcomes]).min()
        parts |= {"mask_rate": mask_rate(draw.mask, lengths), "temperature": torch.tensor(temperature)}
        return StepLoss(total, utterance_losses.sum(0).detach(), parts | self.sparsities())

    def draw(self, lengths: Tensor, num_frames: int) -> Draw:
        """The mask and the distractors of a batch with (B,) encoder frames."""
        generator = None if self.training else torch.Generator().manual_seed(EVALUATION_SEED)
        mask = self.masking.draw(lengths, num_frames, generator)
        frames = MaskedFrames.of(mask)
        return Draw(mask, frames, draw_distractors(frames.valid, self.task.num_distractors, generator))

    def _outcome(self, run: MaskedPass, draw: Draw) -> _Outcome:
        quantized = run.targets
        logits = contrastive_logits(
            run.context, quantized.vectors, quantized.codes, draw.distractors, kappa=self.task.kappa
        )
        found = contrast(logits, draw.frames.valid)
        counts = draw.frames.valid.sum(1)
        num_masked = counts.sum().clamp(min=1)
        loss = found.losses.sum() / num_masked
        diversity = diversity_loss(quantized.probabilities)
        return _Outcome(
            loss + self.task.diversity_weight * diversity + self.task.penalty_weight * run.penalty,
            found.losses.sum(1) / counts.clamp(min=1),
            {"contrastive": loss.detach(), "accuracy": found.correct.sum() / num_masked},
            {
                "perplexity": quantized.perplexities.sum(),
                "diversity": diversity.detach(),
                "penalty": run.penalty.detach(),
            },
            quantized.perplexities,
        )

    def choice_loss(self, values: Mapping[str, float]) -> float:
        """See `Trainable`: the share of masked frames whose target was not told from the distractors.

        The contrastive loss would not do: with a collapsed codebook all distractors equal the target and leave the sum,
        and the loss is 0.
        """
        return statistics.fmean(1.0 - value for key, value in values.items() if key.endswith("/accuracy"))

    def warnings(self, values: Mapping[str, float], step: int) -> list[str]:
        """See `Trainable`: a codebook that has collapsed."""
        return self.collapse.watch(values["least_perplexity"], step)


class PretrainingOptions(Section):
    """What is hidden, what it is told from, and the width in which context and targets meet."""

    target_dim: PositiveInt = 256
    """Width of the targets."""
    extractor_gradient: NonNegativeFloat = 0.1
    """The gradient that reaches the feature extractor is multiplied by this (section 4.2)."""
    masking: MaskingOptions = MaskingOptions()
    """Which frames are hidden."""
    quantizer: QuantizerOptions = QuantizerOptions()
    """From extracted frames to targets."""
    temperature: Temperature = Temperature()
    """Of the quantiser."""
    contrast: ContrastiveTask = ContrastiveTask()
    """What is asked of a pass."""

    def build_network(self, encoder: Wav2VecEncoder, feature_mean: Tensor, feature_istd: Tensor) -> PretrainingNetwork:
        """`encoder` and what is learnt beside it."""
        quantizer = self.quantizer.build(encoder.extracted_dim, self.target_dim)
        return PretrainingNetwork(
            encoder,
            quantizer,
            self.target_dim,
            feature_mean,
            feature_istd,
            extractor_gradient=self.extractor_gradient,
        )

    def build(self, network: PretrainingNetwork, plan: PassPlan, pruner: Pruner | None) -> Pretraining:
        """The passes of `plan` over `network`."""
        return Pretraining(network, plan, self.contrast, self.masking.build(), self.temperature, pruner=pruner)
