"""Transformer encoder of a transducer (Zhang et al. 2020; Yeh et al. 2019) with dual-mode layers.

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, zero_state
from dualtk.encoders.transformer_stack import transformer_stack
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.dropout import Dropout
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.nn.subsampling import SubsamplingKind, make_subsampling


class TransformerEncoder(nn.Module):
    """Stacked frames or convolution subsampling, then Transformer blocks and a norm.

    Without `output_projection` the heads go straight into the residual connection. Kojima (2021) writes the projection
    (equation 4), but its size of 13.3 M is met without it only, and its head distillation compares heads after the
    residual connection, which stay apart only so.

    Args:
        input_dim: features per frame.
        dim: width of the blocks.
        num_layers: blocks.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branches.
        dropout: of every residual branch, and inside the feed-forward.
        mode_names: modes that own a set of norms.
        subsampling: `stacking` of `subsampling_factor` frames, or `convolution` by 4.
        subsampling_factor: feature frames per output frame.
        subsampling_channels: of the convolution front end.
        positions: `relative` (Zhang et al. 2020), `rotary` (no parameters), or `none`.
        output_projection: project the concatenated heads.
        checkpoint: recompute blocks in the backward pass to save memory.
    """

    def __init__(
        self,
        *,
        input_dim: int,
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        mode_names: Sequence[str],
        subsampling: SubsamplingKind = "stacking",
        subsampling_factor: int = 3,
        subsampling_channels: int = 64,
        positions: Positions = "rotary",
        output_projection: bool = True,
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.output_dim = dim
        self.subsampling = subsampling_factor
        self.front = make_subsampling(
            subsampling,
            input_dim=input_dim,
            output_dim=dim,
            channels=subsampling_channels,
            factor=subsampling_factor,
        )
        self.dropout = Dropout(dropout)
        self.stack = transformer_stack(
            dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            mode_names=mode_names,
            positions=positions,
            output_projection=output_projection,
            checkpoint=checkpoint,
        )

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised features with their (B,) lengths -> (B, ceil(T / subsampling), D)."""
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
