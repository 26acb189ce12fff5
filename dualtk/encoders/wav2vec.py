"""The encoder of wav2vec 2.0 (Baevski et al. 2020) with dual-mode layers: raw samples to context.

Axes: B batch, T feature frames, T' output frames, F samples of a feature frame, C extracted channels, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from dualtk.encoders.base import EncoderOutput, output_frames, pad_features, require_streaming, zero_state
from dualtk.encoders.extractor import ExtractorNorm, FeatureExtractor
from dualtk.encoders.latent_masks import LatentMaskOptions, LatentMasks
from dualtk.encoders.transformer_stack import transformer_stack
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualNorm
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.state import Spec, State
from dualtk.nn.subsampling import stack_frames


class Wav2VecEncoder(nn.Module):
    """Feature extractor, norm and projection, then Transformer blocks and a norm; all of it in any mode.

    Pre-training uses its three parts apart: `extract`, `project` and `context`. They keep the frames that fill the
    last chunk; `forward` drops these.

    Deviations from the paper: norms stand before the branches of every block, as in its large model; positions are
    rotary or relative, as in the other encoders, instead of a convolution over 128 frames, which would look ahead.

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
        positions: `relative`, `rotary` (no parameters), or `none`.
        checkpoint: recompute convolutions and blocks in the backward pass to save memory.
        latent_masks: what `forward` hides from the blocks in training, as options of `LatentMasks`; None: nothing.

    Attributes:
        extracted_dim: C, `channels` times `stacking`.
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
        positions: Positions = "rotary",
        checkpoint: bool = False,
        latent_masks: LatentMaskOptions | None = None,
    ) -> None:
        super().__init__()
        self.extractor = FeatureExtractor(channels, kernels, strides, extractor_norm, mode_names, checkpoint)
        frame = self.extractor.stride * stacking
        if stacking < 1 or frame % input_dim != 0:
            raise InputError(f"strides: an output frame of {frame} samples is no multiple of a feature's {input_dim}")
        self.input_dim = input_dim
        self.output_dim = dim
        self.extracted_dim = channels * stacking
        self.subsampling = frame // input_dim
        self.stacking = stacking
        self.extracted_norm = DualNorm("layer", self.extracted_dim, mode_names)
        self.projection = MaskedLinear(self.extracted_dim, dim)
        self.dropout = Dropout(dropout)
        self.latent_masks = None if latent_masks is None else LatentMasks(dim, **latent_masks)
        self.stack = transformer_stack(
            dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            mode_names=mode_names,
            positions=positions,
            checkpoint=checkpoint,
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
        output: EncoderOutput = self.stack(projected, own, visible, mode, return_heads)
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
        """See `Encoder.state_spec`; `samples` are those before the chunk that its first frame hears."""
        require_streaming(mode)
        self._require_norm(mode)
        return {"samples": (self.extractor.left_samples,), **self.stack.state_spec(mode)}

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, self.projection.weight)

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        self._require_norm(mode)
        extracted, samples = self.extractor.step(chunk.flatten(1), state["samples"], mode)
        projected = self.project(stack_frames(extracted, self.stacking), mode)
        frames, stack_state = self.stack.step(projected, state, mode)
        return frames, {"samples": samples, **stack_state}

    def _require_norm(self, mode: Mode) -> None:
        if self.extractor.norm == "group" and not mode.full_context:
            raise InputError(f"extractor_norm: group needs the whole utterance, which mode {mode.name} has not")
