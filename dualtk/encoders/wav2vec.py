"""The encoder of wav2vec 2.0 (Baevski et al. 2020) with dual-mode layers: raw samples to context.

Axes: B batch, T feature frames, T' output frames, F samples of a feature frame, C extracted channels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from dualtk.encoders.base import EncoderOutput, output_frames, pad_features, require_streaming, zero_state
from dualtk.encoders.extractor import ExtractorNorm, FeatureExtractor
from dualtk.encoders.latent_masks import LatentMaskOptions, LatentMasks
from dualtk.encoders.stack import BlockOptions
from dualtk.encoders.transformer_block import transformer_stack
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualNorm, optional_norm
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.masks import padding_mask
from dualtk.nn.position_convolution import PositionConvolution
from dualtk.nn.state import Spec, State
from dualtk.nn.subsampling import stack_frames
from dualtk.options import Depth, Unit

ContextPositions = Literal["convolution", "relative", "rotary", "none"]


@dataclass(frozen=True)
class Wav2VecKind:
    """The options that a network's weights only mean something with, under the names of `Wav2VecEncoder`."""

    extractor_norm: ExtractorNorm
    pre_norm: bool
    positions: ContextPositions


class Wav2VecEncoder(nn.Module):
    """Feature extractor, norm and projection, then positions, Transformer blocks and a norm; all of it in any mode.

    Pre-training uses its three parts apart: `extract`, `project` and `context`. They keep the frames that fill the
    last chunk; `forward` drops these.

    The authors' networks have `positions` convolution and, those of LibriSpeech, `extractor_norm` group and no
    `pre_norm`; those of more speech (LV-60k, XLSR), layer and `pre_norm`. Full-context output is then torchaudio's,
    given the same weights; `dualtk.encoders.wav2vec_weights` says where it is not.

    Deviations from the paper: by default norms are layer norms before the branches and positions rotary, because the
    group norm needs the utterance and streaming leaves half of the convolution out. No dropout stands between positions
    and blocks or on attention weights, and training skips no block (LayerDrop).

    Args:
        input_dim: F, samples of a feature frame: 160 are 10 ms at 16 kHz.
        mode_names: modes that own a set of norms.
        latent_masks: what `forward` hides from the blocks in training; None: nothing.
        others: see `Wav2VecOptions`.

    Attributes:
        extracted_dim: C, `channels` times `stacking`.
        kind: what else has to be equal where weights are taken over.
    """

    def __init__(
        self,
        *,
        input_dim: int,
        mode_names: Sequence[str],
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        gradient_checkpointing: bool,
        channels: int,
        kernels: Sequence[int],
        strides: Sequence[int],
        extractor_norm: ExtractorNorm,
        stacking: int,
        positions: ContextPositions,
        position_kernel: int,
        position_groups: int,
        pre_norm: bool,
        latent_masks: LatentMaskOptions | None,
    ) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(
            channels, kernels, strides, extractor_norm, mode_names, gradient_checkpointing
        )
        frame = self.extractor.stride * stacking
        if frame % input_dim != 0:
            raise InputError(f"strides: an output frame of {frame} samples is no multiple of a feature's {input_dim}")
        self.kind = Wav2VecKind(extractor_norm, pre_norm, positions)
        self.input_dim = input_dim
        self.output_dim = dim
        self.extracted_dim = channels * stacking
        self.subsampling = frame // input_dim
        self.stacking = stacking
        self.extracted_norm = DualNorm("layer", self.extracted_dim, mode_names)
        self.projection = MaskedLinear(self.extracted_dim, dim)
        self.dropout = Dropout(dropout)
        self.latent_masks = None if latent_masks is None else LatentMasks(dim, **latent_masks.arguments())
        convolution = positions == "convolution"
        self.positions = PositionConvolution(dim, position_kernel, position_groups) if convolution else None
        self.context_norm = DualNorm("layer", dim, mode_names) if not pre_norm else None
        inside: Positions = "none" if positions == "convolution" else positions
        self.stack = transformer_stack(
            num_layers,
            dim=dim,
            num_heads=num_heads,
            positions=inside,
            mode_names=mode_names,
            pre_norm=pre_norm,
            output_projection=True,
            gradient_checkpointing=gradient_checkpointing,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            activation=functional.gelu,
        )

    def extract(self, feats: Tensor, lengths: Tensor, mode: Mode) -> Tensor:
        """Normalised samples (B, T, F) with their (B,) lengths in feature frames -> (B, T', C), before any norm.

        T' is that of whole chunks: the frames beyond ceil(T / subsampling) are those of a stream that is flushed.

        Raises:
            InputError: a streaming mode and an extractor whose norm needs the whole utterance.
        """
        self._require_norm(mode)
        padded = pad_features(feats, lengths, self.subsampling, mode)
        frames = self.extractor(padded.feats.flatten(1), lengths * self.input_dim, mode)
        return stack_frames(frames, self.stacking)

    def project(self, extracted: Tensor, mode: Mode) -> Tensor:
        """(B, T', C) -> (B, T', D), the input of the context network."""
        output: Tensor = self.dropout(self.projection(self.extracted_norm(extracted, mode), mode))
        return output

    def context(self, projected: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T', D), T' as `extract` gives it, and the (B,) lengths in feature frames -> frames (B, T', D)."""
        own, visible = output_frames(lengths, self.subsampling, mode)
        x = projected
        if self.positions is not None:
            x = self.positions(x.masked_fill(~padding_mask(visible, x.shape[1]).unsqueeze(2), 0.0), mode)
        x = optional_norm(self.context_norm, x, mode)
        output: EncoderOutput = self.stack(x, own, visible, mode, return_heads)
        return output

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised samples with their (B,) lengths -> (B, ceil(T / subsampling), D)."""
        projected = self.project(self.extract(feats, lengths, mode), mode)
        num_frames = -(-feats.shape[1] // self.subsampling)
        if self.latent_masks is not None:
            own, _ = output_frames(lengths, self.subsampling, mode)
            projected = self.latent_masks(projected, own, num_frames)
        return self.context(projected, lengths, mode, return_heads).crop(num_frames)

    def state_spec(self, mode: Mode) -> Spec:
        """See `Encoder.state_spec`; `samples` and `projected` are those before the chunk that it reaches back to."""
        require_streaming(mode)
        self._require_norm(mode)
        spec: Spec = {"samples": (self.extractor.left_samples,)}
        if self.positions is not None:
            spec["projected"] = (self.positions.left_frames, self.output_dim)
        return {**spec, **self.stack.state_spec(mode)}

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, self.projection.weight)

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        self._require_norm(mode)
        extracted, samples = self.extractor.step(chunk.flatten(1), state["samples"], mode)
        x = self.project(stack_frames(extracted, self.stacking), mode)
        after: State = {"samples": samples}
        if self.positions is not None:
            x, after["projected"] = self.positions.step(x, state["projected"], mode)
        frames, stack_state = self.stack.step(optional_norm(self.context_norm, x, mode), state, mode)
        return frames, {**after, **stack_state}

    def _require_norm(self, mode: Mode) -> None:
        if self.extractor.norm == "group" and not mode.full_context:
            raise InputError(f"extractor_norm: group needs the whole utterance, which mode {mode.name} has not")


class Wav2VecOptions(BlockOptions):
    """The encoder of wav2vec 2.0 (Baevski et al. 2020), on features of kind `samples`."""

    name: Literal["wav2vec"]
    """Which encoder."""
    dim: PositiveInt = 768
    """Width of the blocks."""
    num_layers: Depth = 12
    """Blocks."""
    num_heads: PositiveInt = 8
    """Attention heads; they divide `dim`."""
    feedforward_dim: PositiveInt = 3072
    """Inner width of the feed-forward branches."""
    channels: PositiveInt = 512
    """Of every convolution of the feature extractor."""
    kernels: Annotated[tuple[PositiveInt, ...], Unit("inputs of the layer")] = (10, 3, 3, 3, 3, 2, 2)
    """Taps of the extractor's convolutions; no kernel is shorter than its stride."""
    strides: Annotated[tuple[PositiveInt, ...], Unit("inputs of the layer")] = (5, 2, 2, 2, 2, 2, 2)
    """Strides of the extractor's convolutions."""
    extractor_norm: ExtractorNorm = "layer"
    """`layer` after every convolution, in any mode, or `group` over time after the first, in full context only."""
    stacking: Annotated[PositiveInt, Unit("extracted frames")] = 1
    """Extracted frames of one encoder frame, 1 in the paper; with the strides it makes a multiple of 10 ms."""
    positions: ContextPositions = "rotary"
    """What attention knows of the order of frames: `convolution` (the paper), `relative`, `rotary` (no parameters),
    `none`."""
    position_kernel: Annotated[PositiveInt, Unit("encoder frames")] = 128
    """Taps of the convolution over positions."""
    position_groups: PositiveInt = 16
    """Groups of the convolution over positions."""
    pre_norm: bool = True
    """Norms stand before the branches of every block, otherwise after their residual connections."""
    latent_masks: LatentMaskOptions | None = None
    """What fine-tuning hides of the blocks' input; null for nothing."""

    @model_validator(mode="after")
    def _only_of_the_convolution(self) -> Wav2VecOptions:
        for key in ("position_kernel", "position_groups"):
            if self.positions != "convolution" and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: positions: {self.positions} has none; positions: convolution has")
        return self

    def build(self, input_dim: int, mode_names: Sequence[str]) -> Wav2VecEncoder:
        """The encoder of frames of `input_dim` samples, with one set of norms for each mode."""
        return Wav2VecEncoder(input_dim=input_dim, mode_names=mode_names, **self.arguments())
