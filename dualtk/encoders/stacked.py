"""Subsampling and a stack of blocks: the whole of a Conformer or Transformer encoder.

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

from pydantic import PositiveInt
from torch import Tensor, nn

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, zero_state
from dualtk.encoders.stack import BlockOptions, BlockStack
from dualtk.modes import Mode
from dualtk.nn.dropout import Dropout
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.nn.subsampling import ConvSubsampling, FrameStacking, SubsamplingKind, make_subsampling
from dualtk.options import Unit


class StackedEncoder(nn.Module):
    """A front end that divides the frame rate, dropout, and blocks.

    Args:
        front: (B, T, F) -> (B, ceil(T / subsampling), D).
        stack: the blocks, of width D.
        input_dim: F.
        output_dim: D.
        subsampling: feature frames per output frame.
        dropout: of what the blocks read.
    """

    def __init__(
        self,
        front: ConvSubsampling | FrameStacking,
        stack: BlockStack,
        *,
        input_dim: int,
        output_dim: int,
        subsampling: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.subsampling = subsampling
        self.front = front
        self.dropout = Dropout(dropout)
        self.stack = stack

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised features with their (B,) lengths -> (B, T', D), T' = ceil(T / subsampling)."""
        padded = pad_features(feats, lengths, self.subsampling, mode)
        x = self.dropout(self.front(padded.feats))
        output: EncoderOutput = self.stack(x, padded.lengths, padded.visible, mode, return_heads)
        return output.crop(padded.num_frames)

    def state_spec(self, mode: Mode) -> Spec:
        """See `Encoder.state_spec`."""
        require_streaming(mode)
        return {**nest("front", self.front.state_spec()), **self.stack.state_spec(mode)}

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, self.front.output.weight)

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        x, front_state = self.front.step(chunk, split_state(state).get("front", {}))
        frames, stack_state = self.stack.step(x, state, mode)
        return frames, {**nest_state("front", front_state), **stack_state}


class StackedOptions(BlockOptions):
    """What encoders of subsampling and blocks have in common."""

    subsampling: SubsamplingKind = "convolution"
    """`convolution`, or `stacking` of `subsampling_factor` frames, which learns faster from little speech."""
    subsampling_factor: Annotated[PositiveInt, Unit("feature frames")] = 4
    """Feature frames of one encoder frame; 4 or 8 for `convolution`."""
    subsampling_channels: PositiveInt = 64
    """Channels of the convolutions that subsample."""

    @abstractmethod
    def build_stack(self, mode_names: Sequence[str]) -> BlockStack:
        """The blocks."""

    def build(self, input_dim: int, mode_names: Sequence[str]) -> StackedEncoder:
        """The encoder of features of `input_dim`, with one set of norms for each mode."""
        front = make_subsampling(
            self.subsampling,
            input_dim=input_dim,
            output_dim=self.dim,
            channels=self.subsampling_channels,
            factor=self.subsampling_factor,
        )
        return StackedEncoder(
            front,
            self.build_stack(mode_names),
            input_dim=input_dim,
            output_dim=self.dim,
            subsampling=self.subsampling_factor,
            dropout=self.dropout,
        )
