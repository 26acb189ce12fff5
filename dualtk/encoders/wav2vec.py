"""The encoder of wav2vec 2.0 (Baevski et al. 2020) with dual-mode layers: raw samples to context.

Axes: B batch, T feature frames, T' output frames, F samples of a feature frame, C extracted channels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dualtk.encoders.base import EncoderOutput, output_frames, pad_features, require_streaming, zero_state
from dualtk.encoders.extractor import ExtractorNorm, FeatureExtractor
from dualtk.encoders.latent_masks import LatentMaskOptions, LatentMasks
from dualtk.encoders.transformer_stack import NormPlace, transformer_stack
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualNorm, optional_norm
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.masks import padding_mask
from dualtk.nn.position_convolution import PositionConvolution
from dualtk.nn.state import Spec, State
from dualtk.nn.subsampling import stack_frames

ContextPositions = Literal["convolution", "relative", "rotary", "none"]


@dataclass(frozen=True)
class Wav2VecKind:
    """The options that a network's weights only mean something with, under the names of `Wav2VecEncoder`."""

    extractor_norm: ExtractorNorm
    norms: NormPlace
    positions: ContextPositions


class Wav2VecEncoder(nn.Module):
    """Feature extractor, norm and projection, then positions, Transformer blocks and a norm; all of it in any mode.

    Pre-training uses its three parts apart: `extract`, `project` and `context`. They keep the frames that fill the
    last chunk; `forward` drops these.

    The authors' networks have `positions` convolution and, those of LibriSpeech, `extractor_norm` group and `norms`
    after; those of more speech (LV-60k, XLSR), layer and before. Full-context output is then torchaudio's, given the
    same weights; `dualtk.encoders.wav2vec_weights` says where it is not.

    Deviations from the paper: norms and positions are layer, before and rotary unless asked for, because the group norm
    needs the utterance and streaming leaves half of the convolution out. No dropout stands between positions and blocks
    or on attention weights, and training skips no block (LayerDrop).

    Args:
        input_dim: F, samples of a feature frame: 160 are 10 ms at 16 kHz.
        dim: width of the blocks.
        num_layers: blocks.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branches.
        dropout: of the projection and every residual branch, and inside the feed-forward.
        mode_names: modes that own a set of norms.
        channels: of the feature extractor.
        kernels, strides: of its convolutions.
        extractor_norm: `layer` in any mode, or `group` in full-context modes only; see `FeatureExtractor`.
        stacking: extracted frames that one output frame is made of, 1 in the paper; all strides and this together
            are a multiple of `input_dim`.
        positions: `convolution` (the paper), `relative`, `rotary` (no parameters), or `none`.
        position_kernel, position_groups: of the convolution; see `PositionConvolution`.
        norms: `before` the branches of every block, with one after the last block, or `after` their residual
            connections, with one before the first block.
        checkpoint: recompute convolutions and blocks in the backward pass to save memory.
        latent_masks: what `forward` hides from the blocks in training, as options of `LatentMasks`; None: nothing.

    Attributes:
        extracted_dim: C, `channels` times `stacking`.
        kind: what else has to be equal where weights are taken over.
    """

    def __init__(
        self,
        *,
        input_dim: int = 160,
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        mode_names: Sequence[str],
        channels: int = 512,
        kernels: Sequence[int] = (10, 3, 3, 3, 3, 2, 2),
        strides: Sequence[int] = (5, 2, 2, 2, 2, 2, 2),
        extractor_norm: ExtractorNorm = "layer",
        stacking: int = 1,
        positions: ContextPositions = "rotary",
        position_kernel: int = 128,
        position_groups: int = 16,
        norms: NormPlace = "before",
        checkpoint: bool = False,
        latent_masks: LatentMaskOptions | None = None,
    ) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(channels, kernels, strides, extractor_norm, mode_names, checkpoint)
        frame = self.extractor.stride * stacking
        if stacking < 1 or frame % input_dim != 0:
            raise InputError(f"strides: an output frame of {frame} samples is no multiple of a feature's {input_dim}")
        self.kind = Wav2VecKind(extractor_norm, norms, positions)
        self.input_dim = input_dim
        self.output_dim = dim
        self.extracted_dim = channels * stacking
        self.subsampling = frame // input_dim
        self.stacking = stacking
        self.extracted_norm = DualNorm("layer", self.extracted_dim, mode_names)
        self.projection = MaskedLinear(self.extracted_dim, dim)
        self.dropout = Dropout(dropout)
        self.latent_masks = None if latent_masks is None else LatentMasks(dim, **latent_masks)
        convolution = positions == "convolution"
        self.positions = PositionConvolution(dim, position_kernel, position_groups) if convolution else None
        self.context_norm = DualNorm("layer", dim, mode_names) if norms == "after" else None
        self.stack = transformer_stack(
            dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            mode_names=mode_names,
            positions="none" if positions == "convolution" else positions,
            checkpoint=checkpoint,
            activation=functional.gelu,
            norms=norms,
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
        """See `Encoder.state_spec`; `samples` and `projected` are those before the chunk that its first frame hears."""
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
