"""Normalisation over time that does not count padding.

Axes: B batch, T frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) over the frames that exist; names and defaults as in `nn.BatchNorm1d`.

    Statistics are kept in float32 whatever the autocast, and those of an empty batch are left alone.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) with its (B, T) bool mask (None: every frame exists) -> (B, T, D)."""
        if not self.training:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            return x * scale + (self.bias - self.running_mean * scale)
        with torch.autocast(x.device.type, enabled=False):
            return self._normalise(x.float(), mask).to(x.dtype)

    def _normalise(self, x: Tensor, mask: Tensor | None) -> Tensor:
        frames = x.flatten(0, 1)
        count = torch.ones(frames.shape[0], device=x.device) if mask is None else mask.flatten().float()
        total = count.sum()
        weights = count / total.clamp(min=1.0)
        mean = weights @ frames
        centred = frames - mean
        variance = weights @ centred.square()
        self._update(mean.detach(), variance.detach(), total)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias, centred, scale).view_as(x)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        unbiased = variance * (total / (total - 1).clamp(min=1.0))
        momentum = self.momentum * (total > 0)
        self.running_mean += momentum * (mean - self.running_mean)
        self.running_var += momentum * (unbiased - self.running_var)


class UtteranceNorm(nn.Module):
    """Normalisation of each channel over the frames of its utterance that exist; `nn.GroupNorm(dim, dim)` without
    padding."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) with its (B, T) bool mask (None: every frame exists) -> (B, T, D), in float32 inside."""
        with torch.autocast(x.device.type, enabled=False):
            frames = x.float()
            weights = frames.new_ones(x.shape[:2]) if mask is None else mask.float()
            weights = (weights / weights.sum(1, keepdim=True).clamp(min=1.0)).unsqueeze(1)  # (B, T) -> (B, 1, T)
            mean = weights @ frames
            variance = weights @ (frames - mean).square()
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return ((frames - mean) * scale + self.bias).to(x.dtype)
