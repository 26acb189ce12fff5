"""The section `model`: encoder, predictor, joiner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dualtk.config.section import Fraction, Positive, Probability, Section, Size

Positions = Literal["relative", "rotary", "none"]


class BlocksSection(Section):
    """What encoders of attention blocks have in common; what is null is the encoder's own choice."""

    dim: Size = 256
    num_heads: Size = 4
    dropout: Fraction = 0.1
    checkpoint: bool = False

    def arguments(self) -> dict[str, Any]:
        """The fields that are given, as keyword arguments."""
        return {key: value for key, value in super().arguments().items() if value is not None}


class ConformerConfig(BlocksSection):
    """`dualtk.encoders.conformer.conformer_encoder`."""

    name: Literal["conformer"]
    num_layers: Size = 16
    feedforward_dim: Size = 1024
    kernel: Size = 31
    subsampling_channels: Size | None = None
    subsampling: Literal["convolution", "stacking"] = "convolution"
    subsampling_factor: Size = 4
    convolution_norm: Literal["batch", "layer"] = "batch"
    positions: Positions = "relative"


class ContextNetConfig(Section):
    """`dualtk.encoders.contextnet.ContextNetEncoder`."""

    name: Literal["contextnet"]
    alpha: Positive = 1.0
    kernel: Size = 5
    dropout: Fraction = 0.1
    layers_per_block: Size = 5
    strided_blocks: tuple[Size, ...] = (3, 7, 14)


class TransformerConfig(BlocksSection):
    """`dualtk.encoders.transformer.transformer_encoder`."""

    name: Literal["transformer"]
    num_layers: Size = 10
    feedforward_dim: Size = 2048
    subsampling: Literal["stacking", "convolution"] = "stacking"
    subsampling_factor: Size = 3
    subsampling_channels: Size | None = None
    positions: Positions = "rotary"
    output_projection: bool = True


class LSTMConfig(Section):
    """`dualtk.encoders.lstm.LSTMEncoder`."""

    name: Literal["lstm"]
    dim: Size = 640
    num_layers: Size = 4
    dropout: Fraction = 0.1
    stacking: Size = 3
    time_reduction: Size = 2
    time_reduction_layer: int = 2
    projection_dim: Size | None = None


class LatentMasksConfig(Section):
    """`dualtk.encoders.latent_masks.LatentMasks`."""

    time_probability: Probability = 0.05
    time_width: Size = 10
    channel_probability: Probability = 0.008
    channel_width: Size = 64


class Wav2VecConfig(BlocksSection):
    """`dualtk.encoders.wav2vec.Wav2VecEncoder`, on features of kind `samples`; `latent_masks` are for fine-tuning."""

    name: Literal["wav2vec"]
    channels: Size = 512
    kernels: tuple[Size, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[Size, ...] = (5, 2, 2, 2, 2, 2, 2)
    extractor_norm: Literal["layer", "group"] = "layer"
    stacking: Size = 1
    dim: Size = 768
    num_layers: Size = 12
    num_heads: Size = 8
    feedforward_dim: Size = 3072
    positions: Literal["convolution", "relative", "rotary", "none"] = "rotary"
    position_kernel: Size | None = None
    position_groups: Size | None = None
    norms: Literal["before", "after"] = "before"
    latent_masks: LatentMasksConfig | None = None

    @model_validator(mode="after")
    def _only_of_the_convolution(self) -> Wav2VecConfig:
        for key in ("position_kernel", "position_groups"):
            if self.positions != "convolution" and getattr(self, key) is not None:
                raise ValueError(f"{key}: positions: {self.positions} has none; positions: convolution has")
        return self

    def arguments(self) -> dict[str, Any]:
        """With the masks as keyword arguments of theirs."""
        masks = None if self.latent_masks is None else self.latent_masks.arguments()
        return super().arguments() | {"latent_masks": masks}


class LSTMPredictorConfig(Section):
    """`dualtk.transducer.predictor.LSTMPredictor`."""

    name: Literal["lstm"]
    embedding_dim: Size = 640
    dim: Size = 640
    num_layers: Size = 1
    projection_dim: Size | None = None
    dropout: Fraction = 0.0


class StatelessPredictorConfig(Section):
    """`dualtk.transducer.predictor.StatelessPredictor`."""

    name: Literal["stateless"]
    dim: Size = 512
    context_size: Size = 2
    dropout: Fraction = 0.0


class TanhJoinerConfig(Section):
    """`dualtk.transducer.joiner.TanhJoiner`."""

    name: Literal["tanh"]
    joiner_dim: Size = 640


class AdditiveJoinerConfig(Section):
    """`dualtk.transducer.joiner.AdditiveJoiner`."""

    name: Literal["additive"]
    activation: Literal["tanh", "identity"] = "identity"


EncoderConfig = Annotated[
    ConformerConfig | ContextNetConfig | TransformerConfig | LSTMConfig | Wav2VecConfig, Field(discriminator="name")
]
PredictorConfig = Annotated[LSTMPredictorConfig | StatelessPredictorConfig, Field(discriminator="name")]
JoinerConfig = Annotated[TanhJoinerConfig | AdditiveJoinerConfig, Field(discriminator="name")]


class ModelConfig(Section):
    """A transducer."""

    encoder: EncoderConfig
    predictor: PredictorConfig
    joiner: JoinerConfig
