"""The block of the Transformer and of wav2vec 2.0.

Axes: B batch, T' frames, C frames of a chunk, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.stack import BlockOutput, BlockStack, Context
from dualtk.modes import Mode
from dualtk.nn.attention import Positions
from dualtk.nn.blocks import Activation, FeedForward, SelfAttention
from dualtk.nn.dual import DualNorm, optional_norm
from dualtk.nn.state import Spec, State


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each with its residual connection and a norm.

    Args:
        dim: width.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branch.
        dropout: of every residual branch, and inside the feed-forward.
        positions: `relative` (Zhang et al. 2020), `rotary` (no parameters), or `none`.
        output_projection: project the concatenated heads.
        mode_names: modes that own a set of norms.
        gradient_checkpointing: compute the block again in the backward pass to save memory.
        activation: of the feed-forward branch.
        pre_norm: norms stand before each branch (Zhang et al. 2020, figure 2), otherwise after each addition (Vaswani
            et al. 2017, figure 1).
    """

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
        gradient_checkpointing: bool,
        activation: Activation,
        pre_norm: bool,
    ) -> None:
        super().__init__()
        inside = mode_names if pre_norm else ()
        self.attention = SelfAttention(dim, num_heads, dropout, positions, inside, output_projection)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, inside, activation)
        self.attention_norm = DualNorm("layer", dim, mode_names) if not pre_norm else None
        self.feedforward_norm = DualNorm("layer", dim, mode_names) if not pre_norm else None
        self.gradient_checkpointing = gradient_checkpointing

    def state_spec(self, num_cached: int) -> Spec:
        """Keys and values of `num_cached` frames."""
        return self.attention.state_spec(num_cached)

    def forward(self, x: Tensor, context: Context) -> BlockOutput:
        """(B, T', D) -> (B, T', D)."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: BlockOutput = recompute(self._run, x, context, use_reentrant=False)
            return result
        return self._run(x, context)

    def _run(self, x: Tensor, context: Context) -> BlockOutput:
        mixed = self.attention(x, context.mask, context.table, context.mode)
        return self._connect(x, mixed, context.mode)

    def step(self, x: Tensor, state: State, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D); `mask` is the `cache_mask` of the step."""
        mixed, state = self.attention.step(x, state, mask, table, mode)
        return self._connect(x, mixed, mode).frames, state

    def _connect(self, x: Tensor, mixed: Tensor, mode: Mode) -> BlockOutput:
        """From (B, T', D) and what the attention made of it on."""
        attended = optional_norm(self.attention_norm, x + mixed, mode)
        frames = optional_norm(self.feedforward_norm, attended + self.feedforward(attended, mode), mode)
        return BlockOutput(frames, attended)


def transformer_stack(
    num_layers: int,
    *,
    dim: int,
    num_heads: int,
    positions: Positions,
    mode_names: Sequence[str],
    pre_norm: bool,
    output_projection: bool,
    gradient_checkpointing: bool,
    feedforward_dim: int,
    dropout: float,
    activation: Activation,
) -> BlockStack:
    """Blocks of one kind, see `TransformerBlock`; where norms stand before branches, one more follows the last."""
    blocks = [
        TransformerBlock(
            dim=dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            positions=positions,
            output_projection=output_projection,
            mode_names=mode_names,
            gradient_checkpointing=gradient_checkpointing,
            activation=activation,
            pre_norm=pre_norm,
        )
        for _ in range(num_layers)
    ]
    norm = DualNorm("layer", dim, mode_names) if pre_norm else None
    return BlockStack(blocks, dim=dim, num_heads=num_heads, positions=positions, norm=norm)
