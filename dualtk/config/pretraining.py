"""The configuration of pre-training: wav2vec 2.0 (Baevski et al. 2020) on speech without transcripts."""

from __future__ import annotations

from pydantic import model_validator

from dualtk.config.data import SamplesConfig
from dualtk.config.model import Wav2VecConfig
from dualtk.config.run import RunConfig
from dualtk.config.section import Amount, Positive, Probability, Section, Size

PRETRAINING = "pretraining"  # the section by which a file of this task is known


class MaskingConfig(Section):
    """`dualtk.nn.spans.SpanMask`."""

    probability: Probability = 0.065
    length: Size = 10


class QuantizerConfig(Section):
    """`dualtk.ssl.quantizer.Quantizer`."""

    groups: Size = 2
    entries: Size = 320
    codebook_dim: Size = 256


class TemperatureConfig(Section):
    """`dualtk.ssl.quantizer.Temperature`."""

    start: Positive = 2.0
    end: Positive = 0.5
    decay: Probability = 0.999995


class ContrastConfig(Section):
    """`dualtk.ssl.objective.ContrastiveTask`."""

    num_distractors: Size = 100
    kappa: Positive = 0.1
    diversity_weight: Amount = 0.1
    penalty_weight: Amount = 10.0


class PretrainingConfig(Section):
    """What is masked, what it is told from, and the width in which context and targets meet."""

    target_dim: Size = 256
    extractor_gradient: Amount = 0.1
    masking: MaskingConfig = MaskingConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    temperature: TemperatureConfig = TemperatureConfig()
    contrast: ContrastConfig = ContrastConfig()


class EncoderAloneConfig(Section):
    """A network before it has a predictor and a joiner; its encoder is one that can be pre-trained."""

    encoder: Wav2VecConfig


class PretrainConfig(RunConfig):
    """Everything that a YAML with a section `pretraining` says."""

    model: EncoderAloneConfig
    pretraining: PretrainingConfig

    @model_validator(mode="after")
    def _masks_are_those_of_the_task(self) -> PretrainConfig:
        """The encoder's own masks are not read in this task."""
        if self.model.encoder.latent_masks is not None:
            raise ValueError("model.encoder.latent_masks: for fine-tuning; those of this task are pretraining.masking")
        return self

    @model_validator(mode="after")
    def _features_fit(self) -> PretrainConfig:
        """Raw samples are what there is to learn from."""
        if not isinstance(self.features, SamplesConfig):
            raise ValueError(f"features.kind: the encoder wav2vec hears samples, not {self.features.kind}")
        return self
