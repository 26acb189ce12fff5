"""Conformer (Gulati et al. 2020) with dual-mode layers (Dual-mode ASR, section 3.1).

Axes: B batch, T feature frames, T' output frames, F features, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.stack import BlockOutput, BlockStack, Context
from dualtk.encoders.stacked import StackedOptions
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.blocks import ConvolutionModule, FeedForward, SelfAttention
from dualtk.nn.dual import DualNorm, NormKind
from dualtk.nn.state import Spec, State
from dualtk.options import Depth, Unit


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
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.first_feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names)
        self.attention = SelfAttention(dim, num_heads, dropout, positions, mode_names, output_projection=True)
        self.convolution = ConvolutionModule(dim, kernel, dropout, convolution_norm, mode_names)
        self.second_feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names)
        self.norm = DualNorm("layer", dim, mode_names)
        self.gradient_checkpointing = gradient_checkpointing

    def state_spec(self, num_cached: int) -> Spec:
        """Keys and values of `num_cached` frames, and the left frames of the convolution."""
        return {**self.attention.state_spec(num_cached), **self.convolution.state_spec()}

    def forward(self, x: Tensor, context: Context) -> BlockOutput:
        """(B, T', D) -> (B, T', D)."""
        attended, mixed = self._run(self._before_norm, x, context)
        mixed = self.convolution.depthwise_norm(mixed, context.mode, context.valid)
        return BlockOutput(self._run(self._after_norm, attended, mixed, context.mode), attended)

    def _run(self, region: Callable[..., Any], *inputs: Any) -> Any:
        if self.gradient_checkpointing and torch.is_grad_enabled():
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


class ConformerOptions(StackedOptions):
    """Conformer (Gulati et al. 2020): subsampling, then blocks of attention and convolution."""

    name: Literal["conformer"]
    """Which encoder."""
    num_layers: Depth = 16
    """Blocks."""
    feedforward_dim: PositiveInt = 1024
    """Inner width of the feed-forward branches."""
    kernel: Annotated[PositiveInt, Unit("encoder frames")] = 31
    """Odd number of taps of the dual depthwise convolution; streaming uses (kernel + 1) / 2 of them."""
    convolution_norm: Literal["batch", "layer"] = "batch"
    """Norm inside the convolution module."""
    positions: Positions = "relative"
    """What attention knows of the order of frames: `relative` (the paper), `rotary` (no parameters, faster), `none`."""

    def build_stack(self, mode_names: Sequence[str]) -> BlockStack:
        """See `StackedOptions`."""
        blocks = [
            ConformerBlock(
                dim=self.dim,
                num_heads=self.num_heads,
                feedforward_dim=self.feedforward_dim,
                kernel=self.kernel,
                dropout=self.dropout,
                positions=self.positions,
                convolution_norm=self.convolution_norm,
                mode_names=mode_names,
                gradient_checkpointing=self.gradient_checkpointing,
            )
            for _ in range(self.num_layers)
        ]
        return BlockStack(blocks, dim=self.dim, num_heads=self.num_heads, positions=self.positions, norm=None)
