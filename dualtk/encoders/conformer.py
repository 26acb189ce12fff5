"""Conformer (Gulati et al. 2020) with dual-mode layers (Dual-mode ASR, section 3.1).

Axes: B batch, T feature frames, T' output frames, F features, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.stack import BlockOutput, BlockStack, Context
from dualtk.encoders.stacked import StackedEncoder
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.blocks import ConvolutionModule, FeedForward, SelfAttention
from dualtk.nn.dual import DualNorm, NormKind
from dualtk.nn.state import Spec, State
from dualtk.nn.subsampling import SubsamplingKind, make_subsampling


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, norm (Gulati et al. 2020, equation 1)."""

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        kernel: int,
        dropout: float,
        positions: Positions,
        convolution_norm: NormKind,
        mode_names: Sequence[str],
        checkpoint: bool,
    ) -> None:
        super().__init__()
        self.first_feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names)
        self.attention = SelfAttention(dim, num_heads, dropout, positions, mode_names)
        self.convolution = ConvolutionModule(dim, kernel, dropout, convolution_norm, mode_names)
        self.second_feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names)
        self.norm = DualNorm("layer", dim, mode_names)
        self.checkpoint = checkpoint

    def state_spec(self, num_cached: int) -> Spec:
        """Keys and values of `num_cached` frames, and the left frames of the convolution."""
        return {**self.attention.state_spec(num_cached), **self.convolution.state_spec()}

    def forward(self, x: Tensor, context: Context) -> BlockOutput:
        """(B, T', D) -> (B, T', D)."""
        attended, mixed = self._run(self._before_norm, x, context)
        mixed = self.convolution.depthwise_norm(mixed, context.mode, context.valid)
        return BlockOutput(self._run(self._after_norm, attended, mixed, context.mode), attended)

    def _run(self, region: Callable[..., Any], *inputs: Any) -> Any:
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(region, *inputs, use_reentrant=False)
        return region(*inputs)

    def _before_norm(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        mode = context.mode
        x = x + 0.5 * self.first_feedforward(x, mode)
        x = x + self.attention(x, context.mask, context.table, mode)
        return x, self.convolution.before_norm(x, context.valid, mode)

    def _after_norm(self, x: Tensor, mixed: Tensor, mode: Mode) -> Tensor:
        x = x + self.convolution.after_norm(mixed, mode)
        return self._finish(x, mode)

    def _finish(self, x: Tensor, mode: Mode) -> Tensor:
        x = x + 0.5 * self.second_feedforward(x, mode)
        output: Tensor = self.norm(x, mode)
        return output

    def step(self, x: Tensor, state: State, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D); `mask` is the `cache_mask` of the step."""
        x = x + 0.5 * self.first_feedforward(x, mode)
        attended, attention_state = self.attention.step(x, state, mask, table, mode)
        x = x + attended
        convolved, convolution_state = self.convolution.step(x, state, mode)
        return self._finish(x + convolved, mode), {**attention_state, **convolution_state}


def conformer_encoder(
    *,
    input_dim: int,
    dim: int,
    num_layers: int,
    num_heads: int,
    feedforward_dim: int,
    kernel: int,
    dropout: float,
    subsampling_channels: int = 64,
    subsampling: SubsamplingKind = "convolution",
    subsampling_factor: int = 4,
    mode_names: Sequence[str],
    convolution_norm: NormKind = "batch",
    positions: Positions = "relative",
    checkpoint: bool = False,
) -> StackedEncoder:
    """Subsampling, then Conformer blocks.

    Args:
        input_dim: features per frame.
        dim: width of the blocks.
        num_layers: blocks.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branches.
        kernel: odd number of taps of the dual depthwise convolution; streaming uses (kernel + 1)/2 of them.
        dropout: of every residual branch, and inside the feed-forward.
        subsampling_channels: of the convolutions of the front end.
        subsampling: `convolution` (the paper), or `stacking` of frames, which learns faster from little speech.
        subsampling_factor: feature frames of one encoder frame; 4 or 8 for convolution.
        mode_names: modes that own a set of norms.
        convolution_norm: norm inside the convolution module.
        positions: `relative` (the paper), `rotary` (no parameters, faster), or `none`.
        checkpoint: recompute blocks in the backward pass to save memory.
    """
    front = make_subsampling(
        subsampling, input_dim=input_dim, output_dim=dim, channels=subsampling_channels, factor=subsampling_factor
    )
    blocks = [
        ConformerBlock(
            dim=dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            kernel=kernel,
            dropout=dropout,
            positions=positions,
            convolution_norm=convolution_norm,
            mode_names=mode_names,
            checkpoint=checkpoint,
        )
        for _ in range(num_layers)
    ]
    stack = BlockStack(blocks, dim=dim, num_heads=num_heads, positions=positions)
    return StackedEncoder(
        front, stack, input_dim=input_dim, output_dim=dim, subsampling=subsampling_factor, dropout=dropout
    )
