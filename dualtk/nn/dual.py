"""The only layers that read a mode (Dual-mode ASR, section 3.1). Each is a function of its input and the mode.

Axes: B batch, T frames, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.norms import MaskedBatchNorm, UtteranceNorm

NormKind = Literal["layer", "batch", "utterance"]


class DualNorm(nn.Module):
    """One independent norm per mode name ("Dual-mode Normalization")."""

    def __init__(self, kind: NormKind, dim: int, mode_names: Sequence[str]) -> None:
        super().__init__()
        make = {"layer": nn.LayerNorm, "batch": MaskedBatchNorm, "utterance": UtteranceNorm}[kind]
        self.kind = kind
        self.norms = nn.ModuleDict({name: make(dim) for name in mode_names})

    def forward(self, x: Tensor, mode: Mode, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); the (B, T) bool mask keeps padding out of statistics over time."""
        if mode.name not in self.norms:
            raise InputError(f"mode {mode.name}: the network has norms for {', '.join(self.norms)} only")
        norm = self.norms[mode.name]
        output: Tensor = norm(x) if self.kind == "layer" else norm(x, mask)
        return output


def optional_norm(norm: DualNorm | None, x: Tensor, mode: Mode) -> Tensor:
    """(B, T, D) -> (B, T, D), as it is where there is no norm."""
    if norm is None:
        return x
    output: Tensor = norm(x, mode)
    return output


class DualConv1d(nn.Module):
    """Depthwise convolution over time with one symmetric kernel ("Dual-mode Convolution").

    Full context uses all k taps. Streaming uses the current and the (k - 1)/2 left taps: multiplying the kernel by a
    tap mask and slicing those taps out of it give the same output, and the slice costs half as much.
    With a stride s the centre of output t is input s*t + s - 1, so that a chunk of s inputs completes one output.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"kernel: a dual convolution is symmetric, so its kernel is odd, not {kernel}")
        if (kernel - 1) // 2 < stride - 1:
            raise InputError(f"kernel: {kernel} taps do not cover a stride of {stride}")
        self.channels = channels
        self.kernel = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel))
        self.bias = nn.Parameter(torch.empty(channels))
        bound = 1.0 / math.sqrt(kernel)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    @property
    def left_frames(self) -> int:
        """Input frames before a chunk that streaming needs."""
        return (self.kernel - 1) // 2 - (self.stride - 1)

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """(B, T, D), zeros beyond each length and T a multiple of the stride -> (B, T / stride, D)."""
        right = (self.kernel - 1) // 2 if mode.full_context else 0
        return self._convolve(F.pad(x, (0, 0, self.left_frames, right)), mode)

    def step(self, x: Tensor, left: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """One chunk (B, C, D) after the (B, left_frames, D) inputs before it -> output and the next left inputs."""
        window = torch.cat([left, x], dim=1)
        return self._convolve(window, mode), window[:, window.shape[1] - self.left_frames :]

    def _convolve(self, x: Tensor, mode: Mode) -> Tensor:
        taps = self.kernel if mode.full_context else (self.kernel + 1) // 2
        # Two views, not one: the gradient then has the strides of the parameter, as sums over processes want it.
        weight = self.weight.view(self.channels, self.kernel)[:, :taps].unsqueeze(1).unsqueeze(1)
        # As a picture one frame high, (B, T, D) already lies in memory as a channels-last convolution wants it:
        # no copy either way, and three times as fast on a CPU as conv1d.
        picture = x.transpose(1, 2).unsqueeze(2)  # (B, T, D) -> (B, D, 1, T)
        output = F.conv2d(picture, weight, self.bias, stride=(1, self.stride), groups=self.channels)
        return output.squeeze(2).transpose(1, 2)  # (B, D, 1, T) -> (B, T, D)


class DualPool(nn.Module):
    """Average over time ("Dual-mode Average Pooling"): of the utterance, or of the frames so far.

    A stream's frames are counted up to 2^17 (87 minutes of 40 ms frames); from there on the mean forgets slowly
    instead of losing float32 digits.
    """

    MAX_COUNT = float(2**17)

    def forward(self, x: Tensor, mask: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) with its (B, T) bool mask -> (B, 1, D) in full context, (B, T, D) running means in streaming."""
        weights = mask.unsqueeze(2).to(x.dtype)
        if mode.full_context:
            return (x * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1.0)
        return (x * weights).cumsum(1) / weights.cumsum(1).clamp(min=1.0)

    def step(self, x: Tensor, total: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Running means of a chunk (B, C, D) after `total` (B, 1, D), the sum of `count` (B, 1, 1) frames."""
        totals = total + x.cumsum(1)
        counts = count + torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype).view(1, -1, 1)
        forget = (self.MAX_COUNT / counts[:, -1:]).clamp(max=1.0)
        return totals / counts, totals[:, -1:] * forget, counts[:, -1:] * forget
