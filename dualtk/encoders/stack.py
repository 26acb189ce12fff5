"""Blocks of one width after each other: what several encoders put on top of their own front end.

Axes: B batch, T' frames, C frames of a chunk, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, cast

from pydantic import PositiveInt
from torch import Tensor, nn

from dualtk.encoders.base import EncoderOutput, split_heads
from dualtk.modes import Mode
from dualtk.nn.attention import Positions, position_table
from dualtk.nn.dual import DualNorm, optional_norm
from dualtk.nn.masks import attention_mask, cache_mask, padding_mask
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.options import Fraction, Section


class BlockOptions(Section):
    """What encoders of attention blocks have in common."""

    dim: PositiveInt = 256
    """Width of the blocks."""
    num_heads: PositiveInt = 4
    """Attention heads; they divide `dim`."""
    dropout: Fraction = 0.1
    """Of every residual branch, and inside the feed-forward."""
    gradient_checkpointing: bool = False
    """Compute blocks again in the backward pass, to save memory."""


class Context(NamedTuple):
    """What every block of a forward pass shares."""

    valid: Tensor  # (B, T') bool, frames that exist
    mask: Tensor  # (B, 1, T', T') added to the scores of the attention
    table: Tensor | None  # positions
    mode: Mode


class BlockOutput(NamedTuple):
    """Frames (B, T', D) of a block, and what they were after its attention's residual connection, normed or not."""

    frames: Tensor
    attended: Tensor


class Block(Protocol):
    """A module with one self-attention, and whatever else it does."""

    def __call__(self, x: Tensor, context: Context) -> BlockOutput:
        """Whole utterances (B, T', D)."""

    def state_spec(self, num_cached: int) -> Spec:
        """What a stream remembers, without B; `key` and `value` of `num_cached` frames among it."""

    def step(self, x: Tensor, state: State, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D) after what `state` remembers; `mask` is the `cache_mask` of the step."""


class BlockStack(nn.Module):
    """Blocks that share masks and positions, and a last norm where they need one.

    Args:
        blocks: at least one, all of the same kind.
        dim: their width.
        num_heads: their attention heads.
        positions: what their attention knows of the order of frames.
        norm: of the last block's frames; None leaves them as they are.
    """

    def __init__(
        self, blocks: Iterable[Block], *, dim: int, num_heads: int, positions: Positions, norm: DualNorm | None
    ) -> None:
        super().__init__()
        self.positions: Positions = positions
        self.position_dim = dim // num_heads if positions == "rotary" else dim
        self.num_heads = num_heads
        self.blocks = nn.ModuleList(cast("Iterable[nn.Module]", blocks))
        self.norm = norm

    def forward(
        self, x: Tensor, lengths: Tensor, visible: Tensor, mode: Mode, return_heads: bool = False
    ) -> EncoderOutput:
        """Whole utterances.

        Args:
            x: (B, T', D).
            lengths: (B,) frames of each utterance; only passed on.
            visible: (B,) frames that a block may see, those of the last chunk's padding among them.
            mode: decides the context.
            return_heads: keep the heads of each block.
        """
        num_frames = x.shape[1]
        context = Context(
            padding_mask(visible, num_frames),
            attention_mask(visible, num_frames, mode),
            position_table(self.positions, num_frames, num_frames, self.position_dim, x),
            mode,
        )
        output = EncoderOutput(x, lengths)
        for block in self._blocks():
            x, attended = block(x, context)
            output.hidden.append(x)
            if return_heads:
                output.heads.append(split_heads(attended, self.num_heads))
        output.frames = optional_norm(self.norm, x, mode)
        return output

    def state_spec(self, mode: Mode) -> Spec:
        """Names and shapes; `valid` counts the frames of the attention caches that have been written."""
        spec: Spec = {"valid": (1,)}
        for index, block in enumerate(self._blocks()):
            spec |= nest(f"block{index}", block.state_spec(mode.left_context or 0))
        return spec

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D) after what `state` remembers; entries of others in `state` are left out."""
        num_cached, num_new = state["block0.key"].shape[2], x.shape[1]
        mask = cache_mask(state["valid"], num_cached, num_new)
        table = position_table(self.positions, num_new, num_cached + num_new, self.position_dim, x)
        valid = state["valid"] + num_new
        after: State = {"valid": valid if mode.left_context is None else valid.clamp(max=num_cached)}
        parts = split_state(state)
        for index, block in enumerate(self._blocks()):
            x, block_state = block.step(x, parts[f"block{index}"], mask, table, mode)
            after |= nest_state(f"block{index}", block_state)
        return optional_norm(self.norm, x, mode), after

    def _blocks(self) -> Iterable[Block]:
        return cast("Iterable[Block]", self.blocks)
