"""From feature frames to fewer, wider frames, never looking ahead: the same in every mode.

Output t of a factor s needs the features up to s*t + s - 1, so a chunk of s features completes one output.

Axes: B batch, T frames, F features, C channels, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.nn.state import Spec, State


class ConvSubsampling(nn.Module):
    """3x3 convolutions of stride 2, then a linear layer (Gulati et al. 2020, figure 1).

    Causal in time, with one frame of zeros on the left of each convolution. Deviation from the paper: there the
    kernel is centred, which would look 3 feature frames ahead in streaming. Two convolutions give a quarter of the
    frames, a third gives an eighth.
    """

    FACTORS = (4, 8)

    def __init__(self, input_dim: int, channels: int, output_dim: int, factor: int) -> None:
        super().__init__()
        if factor not in self.FACTORS:
            raise InputError(f"subsampling_factor: convolution subsampling is by {self.FACTORS}, not {factor}")
        self.factor = factor
        self.convolutions = nn.ModuleList()
        self.left_shapes: list[tuple[int, int, int]] = []  # what each convolution remembers: one frame, F, C
        dim, depth = input_dim, 1
        for _ in range(factor.bit_length() - 1):
            self.convolutions.append(nn.Conv2d(depth, channels, 3, stride=2, padding=(0, 1)))
            self.left_shapes.append((1, dim, depth))
            dim, depth = (dim + 1) // 2, channels
        self.output = nn.Linear(dim * channels, output_dim)

    def state_spec(self) -> Spec:
        """The last frame that entered each convolution."""
        return {f"left{index}": shape for index, shape in enumerate(self.left_shapes)}

    def forward(self, feats: Tensor) -> Tensor:
        """(B, T, F), T a multiple of the factor -> (B, T/factor, D)."""
        start = {name: feats.new_zeros(feats.shape[0], *shape) for name, shape in self.state_spec().items()}
        return self.step(feats, start)[0]

    def step(self, feats: Tensor, state: State) -> tuple[Tensor, State]:
        """The same for one chunk after what `state` remembers."""
        x = feats.unsqueeze(3)  # (B, T, F) -> (B, T, F, 1)
        after: State = {}
        for index, convolution in enumerate(self.convolutions):
            window = torch.cat([state[f"left{index}"].to(x.dtype), x], dim=1)
            after[f"left{index}"] = x[:, -1:].to(feats.dtype)
            x = self._convolve(convolution, window)
        output: Tensor = self.output(x.flatten(2))
        return output, after

    @staticmethod
    def _convolve(convolution: nn.Module, x: Tensor) -> Tensor:
        # Channels last, which is what (B, T, F, C) is in memory: no copies, and fast on every device.
        output: Tensor = convolution(x.permute(0, 3, 1, 2))  # (B, T, F, C) -> (B, C, T, F)
        return F.relu(output).permute(0, 2, 3, 1)  # (B, C, T, F) -> (B, T, F, C)


class FrameStacking(nn.Module):
    """Stack `factor` frames into one and project them: (B, T, F) -> (B, T/factor, factor*F) -> (B, T/factor, D)."""

    def __init__(self, input_dim: int, output_dim: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.output = nn.Linear(factor * input_dim, output_dim)

    def state_spec(self) -> Spec:
        """Nothing is remembered."""
        return {}

    def forward(self, feats: Tensor) -> Tensor:
        """(B, T, F), T a multiple of the factor -> (B, T/factor, D)."""
        output: Tensor = self.output(stack_frames(feats, self.factor))
        return output

    def step(self, feats: Tensor, state: State) -> tuple[Tensor, State]:
        """The same for one chunk."""
        return self.forward(feats), state


def stack_frames(frames: Tensor, factor: int) -> Tensor:
    """(B, T, F), T a multiple of the factor -> (B, T/factor, factor*F), oldest frame first."""
    return frames.reshape(frames.shape[0], frames.shape[1] // factor, factor * frames.shape[2])


SubsamplingKind = Literal["convolution", "stacking"]


def make_subsampling(
    kind: SubsamplingKind, *, input_dim: int, output_dim: int, channels: int, factor: int
) -> ConvSubsampling | FrameStacking:
    """The front end by name."""
    if kind == "stacking":
        return FrameStacking(input_dim, output_dim, factor)
    return ConvSubsampling(input_dim, channels, output_dim, factor)
