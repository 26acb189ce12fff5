"""Transformer encoder of a transducer (Zhang et al. 2020; Yeh et al. 2019) with dual-mode layers.

Axes: B batch, T feature frames, T' output frames, F features, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, split_heads, zero_state
from dualtk.modes import Mode
from dualtk.nn.attention import Positions, position_table
from dualtk.nn.blocks import FeedForward, SelfAttention
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualNorm
from dualtk.nn.masks import attention_mask, cache_mask
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.nn.subsampling import SubsamplingKind, make_subsampling


class TransformerBlock(nn.Module):
    """norm and attention, norm and feed-forward, each with its residual connection (Zhang et al. 2020, figure 2)."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        positions: Positions,
        output_projection: bool,
        mode_names: Sequence[str],
        checkpoint: bool,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, dropout, positions, mode_names, output_projection)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names, F.relu)
        self.checkpoint = checkpoint

    def forward(self, x: Tensor, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, Tensor]:
        """(B, T', D) -> its output, and the frames after the residual connection of the attention."""
        if self.checkpoint and torch.is_grad_enabled():
            result: tuple[Tensor, Tensor] = recompute(self._run, x, mask, table, mode, use_reentrant=False)
            return result
        return self._run(x, mask, table, mode)

    def _run(self, x: Tensor, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, Tensor]:
        attended = x + self.attention(x, mask, table, mode)
        return attended + self.feedforward(attended, mode), attended

    def step(self, x: Tensor, state: State, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D); `mask` is the `cache_mask` of the step."""
        mixed, state = self.attention.step(x, state, mask, table, mode)
        x = x + mixed
        return x + self.feedforward(x, mode), state


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
        self.positions: Positions = positions
        self.position_dim = dim // num_heads if positions == "rotary" else dim
        self.num_heads = num_heads
        self.front = make_subsampling(
            subsampling,
            input_dim=input_dim,
            output_dim=dim,
            channels=subsampling_channels,
            factor=subsampling_factor,
        )
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim=dim,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                dropout=dropout,
                positions=positions,
                output_projection=output_projection,
                mode_names=mode_names,
                checkpoint=checkpoint,
            )
            for _ in range(num_layers)
        )
        self.norm = DualNorm("layer", dim, mode_names)

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised features with their (B,) lengths -> (B, ceil(T / subsampling), D)."""
        padded = pad_features(feats, lengths, self.subsampling, mode)
        x = self.dropout(self.front(padded.feats))
        num_frames = x.shape[1]
        mask = attention_mask(padded.visible, num_frames, mode)
        table = position_table(self.positions, num_frames, num_frames, self.position_dim, x)
        output = EncoderOutput(x, padded.lengths)
        for block in self.blocks:
            x, attended = block(x, mask, table, mode)
            output.hidden.append(padded.crop(x))
            if return_heads:
                output.heads.append(split_heads(padded.crop(attended), self.num_heads))
        output.frames = padded.crop(self.norm(x, mode))
        return output

    def state_spec(self, mode: Mode) -> Spec:
        """See `Encoder.state_spec`; `valid` counts the frames of the attention caches that have been written."""
        require_streaming(mode)
        spec: Spec = {"valid": (1,), **nest("front", self.front.state_spec())}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, TransformerBlock)
            spec |= nest(f"block{index}", block.attention.state_spec(mode.left_context or 0))
        return spec

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, self.front.output.weight)

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        parts = split_state(state)
        x, front_state = self.front.step(chunk, parts.get("front", {}))
        num_cached, num_new = state["block0.key"].shape[2], x.shape[1]
        mask = cache_mask(state["valid"], num_cached, num_new)
        table = position_table(self.positions, num_new, num_cached + num_new, self.position_dim, x)
        valid = state["valid"] + num_new
        new_state = {"valid": valid if mode.left_context is None else valid.clamp(max=num_cached)}
        new_state |= nest_state("front", front_state)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, TransformerBlock)
            x, block_state = block.step(x, parts[f"block{index}"], mask, table, mode)
            new_state |= nest_state(f"block{index}", block_state)
        return self.norm(x, mode), new_state
