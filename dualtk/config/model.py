"""The section `model`: encoder, predictor, joiner."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dualtk.config.section import Section


class ConformerConfig(Section):
    """`dualtk.encoders.conformer.conformer_encoder`."""

    name: Literal["conformer"]
    dim: int = 256
    num_layers: int = 16
    num_heads: int = 4
    feedforward_dim: int = 1024
    kernel: int = 31
    dropout: float = 0.1
    subsampling_channels: int | None = None
    subsampling: Literal["convolution", "stacking"] = "convolution"
    subsampling_factor: int = Field(default=4, ge=1)
    convolution_norm: Literal["batch", "layer"] = "batch"
    positions: Literal["relative", "rotary", "none"] = "relative"
    checkpoint: bool = False

    def arguments(self) -> dict[str, Any]:
        """Without what the encoder may choose itself."""
        return {key: value for key, value in super().arguments().items() if value is not None}


class ContextNetConfig(Section):
    """`dualtk.encoders.contextnet.ContextNetEncoder`."""

    name: Literal["contextnet"]
    alpha: float = 1.0
    kernel: int = 5
    dropout: float = 0.1
    layers_per_block: int = 5
    strided_blocks: tuple[int, ...] = (3, 7, 14)


class TransformerConfig(Section):
    """`dualtk.encoders.transformer.transformer_encoder`; what is null is the encoder's own choice."""

    name: Literal["transformer"]
    dim: int = 256
    num_layers: int = 10
    num_heads: int = 4
    feedforward_dim: int = 2048
    dropout: float = 0.1
    subsampling: Literal["stacking", "convolution"] = "stacking"
    subsampling_factor: int = 3
    subsampling_channels: int | None = None
    positions: Literal["relative", "rotary", "none"] = "rotary"
    output_projection: bool = True
    checkpoint: bool = False

    def arguments(self) -> dict[str, Any]:
        """The fields that are given, as keyword arguments."""
        return {key: value for key, value in super().arguments().items() if value is not None}


class LSTMConfig(Section):
    """`dualtk.encoders.lstm.LSTMEncoder`."""

    name: Literal["lstm"]
    dim: int = 640
    num_layers: int = 4
    dropout: float = 0.1
    stacking: int = 3
    time_reduction: int = 2
    time_reduction_layer: int = 2
    projection_dim: int | None = None


class LatentMasksConfig(Section):
    """`dualtk.encoders.latent_masks.LatentMasks`."""

    time_probability: float = Field(default=0.05, ge=0, le=1)
    time_width: int = Field(default=10, ge=1)
    channel_probability: float = Field(default=0.008, ge=0, le=1)
    channel_width: int = Field(default=64, ge=1)


class Wav2VecConfig(Section):
    """`dualtk.encoders.wav2vec.Wav2VecEncoder`, on features of kind `samples`; `latent_masks` are for fine-tuning."""

    name: Literal["wav2vec"]
    channels: int = 512
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    extractor_norm: Literal["layer", "group"] = "layer"
    stacking: int = Field(default=1, ge=1)
    dim: int = 768
    num_layers: int = 12
    num_heads: int = 8
    feedforward_dim: int = 3072
    dropout: float = 0.1
    positions: Literal["relative", "rotary", "none"] = "rotary"
    checkpoint: bool = False
    latent_masks: LatentMasksConfig | None = None

    def arguments(self) -> dict[str, Any]:
        """With the masks as keyword arguments of theirs."""
        masks = None if self.latent_masks is None else self.latent_masks.arguments()
        return super().arguments() | {"latent_masks": masks}


class LSTMPredictorConfig(Section):
    """`dualtk.transducer.predictor.LSTMPredictor`."""

    name: Literal["lstm"]
    embedding_dim: int = 640
    dim: int = 640
    num_layers: int = 1
    projection_dim: int | None = None
    dropout: float = 0.0


class StatelessPredictorConfig(Section):
    """`dualtk.transducer.predictor.StatelessPredictor`."""

    name: Literal["stateless"]
    dim: int = 512
    context_size: int = 2
    dropout: float = 0.0


class TanhJoinerConfig(Section):
    """`dualtk.transducer.joiner.TanhJoiner`."""

    name: Literal["tanh"]
    joiner_dim: int = 640


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
