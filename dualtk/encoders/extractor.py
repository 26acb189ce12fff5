"""The feature extractor of wav2vec 2.0: convolutions from raw samples to frames, never looking ahead.

Axes: B batch, N samples, T' frames, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.dual import DualNorm
from dualtk.nn.masks import padding_mask

ExtractorNorm = Literal["layer", "group"]


class ExtractorLayer(nn.Module):
    """convolution over time without padding, norm, GELU (Baevski et al. 2020, section 2, "Feature encoder")."""

    def __init__(
        self,
        input_dim: int,
        channels: int,
        kernel: int,
        stride: int,
        norm: Literal["layer", "utterance"] | None,
        mode_names: Sequence[str],
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, input_dim, kernel))
        self.bias = nn.Parameter(torch.empty(channels))
        self.norm = None if norm is None else DualNorm(norm, channels, mode_names)
        bound = 1.0 / math.sqrt(input_dim * kernel)
        nn.init.kaiming_normal_(self.weight)
        nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Sizes, for `print(network)`."""
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}, kernel={self.kernel}, stride={self.stride}"

    def forward(self, x: Tensor, mode: Mode, mask: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, (T - kernel) / stride + 1, C); `mask`, for a norm over time, is of the output."""
        # As a picture one frame high, (B, T, C) already lies in memory as a channels-last convolution wants it:
        # no copy either way, and several times as fast on a CPU as conv1d.
        picture = x.transpose(1, 2).unsqueeze(2)  # (B, T, C) -> (B, C, 1, T)
        output = F.conv2d(picture, self.weight.unsqueeze(2), self.bias, stride=(1, self.stride))
        x = output.squeeze(2).transpose(1, 2)  # (B, C, 1, T) -> (B, T, C)
        return F.gelu(x if self.norm is None else self.norm(x, mode, mask))


class FeatureExtractor(nn.Module):
    """Convolutions over raw samples; the first of a stream stand after zeros.

    With a receptive field of R samples and a stride of S in all, frame t covers the samples from (t + 1) S - R to
    (t + 1) S - 1: R - S zeros (or, in a stream, the samples before) stand on the left, and nothing on the right.
    Deviation: the paper's extractor has no zeros, so that its frame t reaches to t S + R - 1.

    Args:
        channels: of every layer.
        kernels, strides: of the layers; no kernel is shorter than its stride.
        norm: `layer` over the channels after every convolution (the large model), or `group` over time, channel by
            channel, after the first (the base model), which needs the whole utterance.
        mode_names: modes that own a set of norms.
        gradient_checkpointing: compute layers again in the backward pass to save memory.
    """

    def __init__(
        self,
        channels: int,
        kernels: Sequence[int],
        strides: Sequence[int],
        norm: ExtractorNorm,
        mode_names: Sequence[str],
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        if not kernels or len(kernels) != len(strides):
            raise InputError(f"kernels: {len(kernels)} of them and {len(strides)} strides; each layer has one of both")
        for kernel, stride in zip(kernels, strides):
            if not 1 <= stride <= kernel:
                raise InputError(f"kernels: {kernel} taps do not cover a stride of {stride}")
        self.norm: ExtractorNorm = norm
        self.gradient_checkpointing = gradient_checkpointing
        self.layers = nn.ModuleList()
        self.stride, field = 1, 1
        for index, (kernel, stride) in enumerate(zip(kernels, strides)):
            kind: Literal["layer", "utterance"] | None = "layer"
            if norm == "group":
                kind = "utterance" if index == 0 else None
            dim = channels if index else 1
            self.layers.append(ExtractorLayer(dim, channels, kernel, stride, kind, mode_names))
            field += (kernel - 1) * self.stride
            self.stride *= stride
        self.left_samples = field - self.stride

    def forward(self, samples: Tensor, lengths: Tensor, mode: Mode) -> Tensor:
        """Samples from the start of utterances, zeros beyond each length, to frames.

        Args:
            samples: (B, N), N a multiple of the stride.
            lengths: (B,) samples of each utterance.
            mode: decides the norms.

        Returns:
            (B, N / stride, C).
        """
        window = F.pad(samples, (self.left_samples, 0))
        return self._run(window, mode, lengths + self.left_samples if self.norm == "group" else None)

    def step(self, samples: Tensor, left: Tensor, mode: Mode) -> tuple[Tensor, Tensor]:
        """One chunk (B, N) after the (B, left_samples) before it -> its frames, and what the next chunk needs."""
        window = torch.cat([left, samples], dim=1)
        return self._run(window, mode, None), window[:, window.shape[1] - self.left_samples :]

    def _run(self, window: Tensor, mode: Mode, lengths: Tensor | None) -> Tensor:
        x, mask = window.unsqueeze(2), None  # (B, N) -> (B, N, 1)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, ExtractorLayer)
            if index == 0 and lengths is not None:
                count = (x.shape[1] - layer.kernel) // layer.stride + 1
                mask = padding_mask((lengths - layer.kernel) // layer.stride + 1, count)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = recompute(layer, x, mode, mask, use_reentrant=False)
            else:
                x = layer(x, mode, mask)
        return x
