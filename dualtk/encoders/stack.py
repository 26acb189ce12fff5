"""Transformer blocks and the norm after them: what several encoders put on top of their own front end.

Axes: B batch, T' frames, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.base import EncoderOutput, split_heads
from dualtk.modes import Mode
from dualtk.nn.attention import Positions, position_table
from dualtk.nn.blocks import Activation, FeedForward, SelfAttention
from dualtk.nn.dual import DualNorm
from dualtk.nn.masks import attention_mask, cache_mask
from dualtk.nn.state import Spec, State, nest, nest_state, split_state


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
        activation: Activation,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, dropout, positions, mode_names, output_projection)
        self.feedforward = FeedForward(dim, feedforward_dim, dropout, mode_names, activation)
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


class TransformerStack(nn.Module):
    """Blocks of one width and a last norm.

    Args:
        dim: width.
        num_layers: blocks.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branches.
        dropout: of every residual branch, and inside the feed-forward.
        mode_names: modes that own a set of norms.
        positions: `relative` (Zhang et al. 2020), `rotary` (no parameters), or `none`.
        output_projection: project the concatenated heads.
        checkpoint: recompute blocks in the backward pass to save memory.
        activation: of the feed-forward branches.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        mode_names: Sequence[str],
        positions: Positions = "rotary",
        output_projection: bool = True,
        checkpoint: bool = False,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        self.positions: Positions = positions
        self.position_dim = dim // num_heads if positions == "rotary" else dim
        self.num_heads = num_heads
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
                activation=activation,
            )
            for _ in range(num_layers)
        )
        self.norm = DualNorm("layer", dim, mode_names)

    def forward(
        self, x: Tensor, lengths: Tensor, visible: Tensor, mode: Mode, return_heads: bool = False
    ) -> EncoderOutput:
        """Whole utterances.

        Args:
            x: (B, T', D).
            lengths: (B,) frames of each utterance; only passed on.
            visible: (B,) frames that attention may see, those of the last chunk's padding among them.
            mode: decides the context.
            return_heads: keep the heads of each block.
        """
        num_frames = x.shape[1]
        mask = attention_mask(visible, num_frames, mode)
        table = position_table(self.positions, num_frames, num_frames, self.position_dim, x)
        output = EncoderOutput(x, lengths)
        for block in self.blocks:
            x, attended = block(x, mask, table, mode)
            output.hidden.append(x)
            if return_heads:
                output.heads.append(split_heads(attended, self.num_heads))
        output.frames = self.norm(x, mode)
        return output

    def state_spec(self, mode: Mode) -> Spec:
        """Names and shapes; `valid` counts the frames of the attention caches that have been written."""
        spec: Spec = {"valid": (1,)}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, TransformerBlock)
            spec |= nest(f"block{index}", block.attention.state_spec(mode.left_context or 0))
        return spec

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D) after what `state` remembers; entries of others in `state` are left out."""
        num_cached, num_new = state["block0.key"].shape[2], x.shape[1]
        mask = cache_mask(state["valid"], num_cached, num_new)
        table = position_table(self.positions, num_new, num_cached + num_new, self.position_dim, x)
        valid = state["valid"] + num_new
        after: State = {"valid": valid if mode.left_context is None else valid.clamp(max=num_cached)}
        parts = split_state(state)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, TransformerBlock)
            x, block_state = block.step(x, parts[f"block{index}"], mask, table, mode)
            after |= nest_state(f"block{index}", block_state)
        return self.norm(x, mode), after
