"""ContextNet (Han et al. 2020) with dual-mode layers (Dual-mode ASR, section 3.1).

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, zero_state
from dualtk.modes import Mode
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualConv1d, DualNorm, DualPool
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.masks import padding_mask
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.options import Depth, Fraction, Section, Unit


class SeparableConvolution(nn.Module):
    """Depthwise dual convolution, pointwise, batch norm (Han et al. 2020, section 2.2.1); the caller activates."""

    def __init__(self, input_dim: int, dim: int, kernel: int, stride: int, mode_names: Sequence[str]) -> None:
        super().__init__()
        self.depthwise = DualConv1d(input_dim, kernel, stride)
        self.pointwise = MaskedLinear(input_dim, dim, bias=False)
        self.norm = DualNorm("batch", dim, mode_names)

    def before_norm(self, x: Tensor, mask: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) with its (B, T) bool mask -> (B, T / stride, D'), as the norm takes it."""
        x = self.depthwise(x.masked_fill(~mask.unsqueeze(2), 0.0), mode)
        output: Tensor = self.pointwise(x, mode)
        return output

    def step(self, x: Tensor, left: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """One chunk after the inputs on its left."""
        x, left = self.depthwise.step(x, left, mode)
        return self.norm(self.pointwise(x, mode), mode), left


class SqueezeExcitation(nn.Module):
    """Scale each channel by what the (running) average of all says (Han et al. 2020, section 2.2.2)."""

    REDUCTION = 8

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.pool = DualPool()
        self.squeeze = MaskedLinear(dim, max(dim // self.REDUCTION, 1))
        self.excite = MaskedLinear(max(dim // self.REDUCTION, 1), dim)

    def forward(self, x: Tensor, mask: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) with its (B, T) bool mask -> (B, T, D)."""
        return self._scale(x, self.pool(x, mask, mode), mode)

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk after the sum and the count of the frames before it."""
        mean, total, count = self.pool.step(x, state["total"], state["count"])
        return self._scale(x, mean, mode), {"total": total, "count": count}

    def _scale(self, x: Tensor, mean: Tensor, mode: Mode) -> Tensor:
        return x * torch.sigmoid(self.excite(F.silu(self.squeeze(mean, mode)), mode))


@dataclass(frozen=True)
class BlockShape:
    """One row of table 1 of Han et al. (2020)."""

    input_dim: int
    dim: int
    num_layers: int
    stride: int
    residual: bool


class ContextNetBlock(nn.Module):
    """swish(SE(convolutions(x)) + P(x)), equation 5; the last convolution and P carry the stride.

    With gradient checkpointing what lies between two norms is computed again in the backward pass; the norms are not,
    for their statistics would move twice.
    """

    def __init__(
        self,
        shape: BlockShape,
        kernel: int,
        dropout: float,
        mode_names: Sequence[str],
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.stride = shape.stride
        self.convolutions = nn.ModuleList(
            SeparableConvolution(
                shape.input_dim if index == 0 else shape.dim,
                shape.dim,
                kernel,
                shape.stride if index == shape.num_layers - 1 else 1,
                mode_names,
            )
            for index in range(shape.num_layers)
        )
        self.excitation = SqueezeExcitation(shape.dim)
        self.dropout = Dropout(dropout)
        self.shortcut = MaskedLinear(shape.input_dim, shape.dim, bias=False) if shape.residual else None
        self.shortcut_norm = DualNorm("batch", shape.dim, mode_names) if shape.residual else None

    def forward(self, x: Tensor, mask: Tensor, output_mask: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) with its (B, T) bool mask -> (B, T / stride, D')."""
        hidden, activated = x, True
        last = len(self.convolutions) - 1
        for index, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, SeparableConvolution)
            hidden = self._run(convolution.before_norm, activated, hidden, mask, mode)
            hidden = convolution.norm(hidden, mode, output_mask if index == last else mask)
            activated = False
        return self._merge(self._run(self.excitation, activated, hidden, output_mask, mode), x, output_mask, mode)

    def _run(self, region: Callable[..., Tensor], activated: bool, x: Tensor, mask: Tensor, mode: Mode) -> Tensor:
        """`region` of what the norm before it gives, activated if that is not done yet."""

        def whole(x: Tensor) -> Tensor:
            return region(x if activated else F.silu(x), mask, mode)

        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = recompute(whole, x, use_reentrant=False)
            return result
        return whole(x)

    def _merge(self, hidden: Tensor, x: Tensor, mask: Tensor | None, mode: Mode) -> Tensor:
        if self.shortcut is not None and self.shortcut_norm is not None:
            newest = x[:, self.stride - 1 :: self.stride]
            hidden = F.silu(hidden + self.shortcut_norm(self.shortcut(newest, mode), mode, mask))
        output: Tensor = self.dropout(hidden)
        return output

    def state_spec(self) -> Spec:
        """The left inputs of each convolution, and the running average."""
        spec: Spec = {"total": (1, self.excitation.dim), "count": (1, 1)}
        for index, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, SeparableConvolution)
            spec[f"left{index}"] = (convolution.depthwise.left_frames, convolution.depthwise.channels)
        return spec

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk after what `state` remembers."""
        hidden, new_state = x, State()
        for index, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, SeparableConvolution)
            hidden, new_state[f"left{index}"] = convolution.step(hidden, state[f"left{index}"], mode)
            hidden = F.silu(hidden)
        hidden, average = self.excitation.step(hidden, state, mode)
        return self._merge(hidden, x, None, mode), {**new_state, **average}


NUM_BLOCKS = 23


def block_shapes(
    input_dim: int, alpha: float, layers_per_block: int, strided_blocks: Sequence[int]
) -> list[BlockShape]:
    """Table 1 of Han et al. (2020): C0 to C22 for a width multiplier alpha."""
    shapes: list[BlockShape] = []
    for index in range(NUM_BLOCKS):
        width = 256 if index <= 10 else 512 if index < NUM_BLOCKS - 1 else 640
        ends = index in (0, NUM_BLOCKS - 1)
        shapes.append(
            BlockShape(
                input_dim=shapes[-1].dim if shapes else input_dim,
                dim=round(width * alpha),
                num_layers=1 if ends else layers_per_block,
                stride=2 if index in strided_blocks else 1,
                residual=not ends,
            )
        )
    return shapes


class ContextNetEncoder(nn.Module):
    """23 blocks of depthwise-separable convolutions with squeeze-and-excitation.

    A stride's centre is the newest of its two inputs, in both modes, so that no stride looks ahead.

    Args:
        input_dim: features per frame.
        mode_names: modes that own a set of norms.
        others: see `ContextNetOptions`.
    """

    def __init__(
        self,
        *,
        input_dim: int,
        mode_names: Sequence[str],
        alpha: float,
        kernel: int,
        dropout: float,
        layers_per_block: int,
        strided_blocks: Sequence[int],
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        shapes = block_shapes(input_dim, alpha, layers_per_block, strided_blocks)
        self.input_dim = input_dim
        self.output_dim = shapes[-1].dim
        self.subsampling = 2 ** len(set(strided_blocks))
        self.blocks = nn.ModuleList(
            ContextNetBlock(shape, kernel, dropout, mode_names, gradient_checkpointing) for shape in shapes
        )

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised features with their (B,) lengths -> (B, ceil(T / subsampling), D).

        `hidden` holds every block's output at the rate it has there; there are no heads to return.
        """
        padded = pad_features(feats, lengths, self.subsampling, mode)
        x = padded.feats
        output = EncoderOutput(x, padded.lengths)
        rate = self.subsampling
        mask = padding_mask(padded.visible * rate, x.shape[1])
        for block in self.blocks:
            assert isinstance(block, ContextNetBlock)
            rate //= block.stride
            output_mask = mask if block.stride == 1 else padding_mask(padded.visible * rate, mask.shape[1] // 2)
            x = block(x, mask, output_mask, mode)
            mask = output_mask
            output.hidden.append(x[:, : padded.num_frames * rate])
        output.frames = padded.crop(x)
        return output

    def state_spec(self, mode: Mode) -> Spec:
        """The left inputs of each convolution, and the sum and count of each running average."""
        require_streaming(mode)
        spec: Spec = {}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, ContextNetBlock)
            spec |= nest(f"block{index}", block.state_spec())
        return spec

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, next(self.parameters()))

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        parts = split_state(state)
        x, new_state = chunk, State()
        for index, block in enumerate(self.blocks):
            assert isinstance(block, ContextNetBlock)
            x, block_state = block.step(x, parts[f"block{index}"], mode)
            new_state |= nest_state(f"block{index}", block_state)
        return x, new_state


class ContextNetOptions(Section):
    """ContextNet (Han et al. 2020): 23 blocks of separable convolutions with squeeze-and-excitation."""

    name: Literal["contextnet"]
    """Which encoder."""
    alpha: PositiveFloat = 1.0
    """Multiplies the widths 256, 512 and 640."""
    kernel: Annotated[PositiveInt, Unit("frames")] = 5
    """Odd number of taps of the dual depthwise convolutions; streaming uses (kernel + 1) / 2 of them."""
    dropout: Fraction = 0.1
    """After each block."""
    layers_per_block: Depth = 5
    """Convolutions of the blocks C1 to C21."""
    strided_blocks: tuple[Annotated[int, Field(ge=0, lt=NUM_BLOCKS)], ...] = (3, 7, 14)
    """Numbers of the blocks that halve the frames; as published they are C3, C7 and C14."""
    gradient_checkpointing: bool = False
    """Compute what lies between two norms again in the backward pass, to save memory."""

    def build(self, input_dim: int, mode_names: Sequence[str]) -> ContextNetEncoder:
        """The encoder of features of `input_dim`, with one set of norms for each mode."""
        return ContextNetEncoder(input_dim=input_dim, mode_names=mode_names, **self.arguments())
