"""Positions by convolution, in any mode. It reads a mode, like the layers of `dualtk.nn.dual`.

Axes: B batch, T frames, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import Mode


class PositionConvolution(nn.Module):
    """x + GELU(grouped convolution of x over time) (Mohamed et al. 2019; Baevski et al. 2020, section 2).

    Full context uses all k taps, floor(k / 2) of them on the left of the frame. Streaming uses those and the frame's
    own, as every dual convolution does: with an even k it reaches as far back, and with any k never ahead.

    Deviation: the weight is a parameter itself. The authors' implementation gives each tap a norm of its own (weight
    norm, Salimans & Kingma 2016); `from_torchaudio` multiplies it in.

    Args:
        dim: D.
        kernel: k.
        groups: of channels that are mixed with each other; they divide `dim`.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        if dim % groups != 0:
            raise InputError(f"position_groups: {groups} groups do not divide a dim of {dim}")
        self.dim = dim
        self.kernel = kernel
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight, std=math.sqrt(4.0 / (kernel * dim)))  # as the authors' implementation draws it

    def extra_repr(self) -> str:
        """Sizes, for `print(network)`."""
        return f"{self.dim}, kernel={self.kernel}, groups={self.groups}"

    @property
    def left_frames(self) -> int:
        """Frames before a chunk that streaming needs."""
        return self.kernel // 2

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """(B, T, D), zeros beyond each length -> (B, T, D)."""
        right = (self.kernel - 1) // 2 if mode.full_context else 0
        return x + self._positions(F.pad(x, (0, 0, self.left_frames, right)), mode)

    def step(self, x: Tensor, left: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """One chunk (B, C, D) after the (B, left_frames, D) before it -> output and the next left frames."""
        window = torch.cat([left, x], dim=1)
        return x + self._positions(window, mode), window[:, window.shape[1] - self.left_frames :]

    def _positions(self, x: Tensor, mode: Mode) -> Tensor:
        taps = self.kernel if mode.full_context else self.left_frames + 1
        # Seen flat in between, so that the gradient has the strides of the parameter, as sums over processes want it.
        weight = self.weight.flatten(1).view_as(self.weight)[:, :, :taps].unsqueeze(2)
        # As a picture one frame high, (B, T, D) already lies in memory as a channels-last convolution wants it.
        picture = x.transpose(1, 2).unsqueeze(2)  # (B, T, D) -> (B, D, 1, T)
        output = F.conv2d(picture, weight, self.bias, groups=self.groups)
        return F.gelu(output.squeeze(2).transpose(1, 2))  # (B, D, 1, T) -> (B, T, D)
