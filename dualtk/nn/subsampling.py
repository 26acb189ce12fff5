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
    """Two 3x3 convolutions of stride 2, then a linear layer: a quarter of the frames (Gulati et al. 2020, figure 1).

    Causal in time, with one frame of zeros on the left of each convolution. Deviation from the paper: there the
    kernel is centred, which would look 3 feature frames ahead in streaming.
    """

    factor = 4

    def __init__(self, input_dim: int, channels: int, output_dim: int) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.channels = channels
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=(0, 1))
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=(0, 1))
        self.first_dim = (input_dim + 1) // 2
        self.output = nn.Linear((self.first_dim + 1) // 2 * channels, output_dim)

    def state_spec(self) -> Spec:
        """The last feature frame, and the last frame of the first convolution."""
        return {"features": (1, self.input_dim), "hidden": (1, self.first_dim, self.channels)}

    def forward(self, feats: Tensor) -> Tensor:
        """(B, T, F), T a multiple of 4 -> (B, T/4, D)."""
        start = {name: feats.new_zeros(len(feats), *shape) for name, shape in self.state_spec().items()}
        return self.step(feats, start)[0]

    def step(self, feats: Tensor, state: State) -> tuple[Tensor, State]:
        """The same for one chunk after what `state` remembers."""
        window = torch.cat([state["features"], feats], dim=1)
        first = self._convolve(self.first, window.unsqueeze(3))
        window_of_first = torch.cat([state["hidden"].to(first.dtype), first], dim=1)
        second = self._convolve(self.second, window_of_first)
        output: Tensor = self.output(second.flatten(2))
        return output, {"features": feats[:, -1:], "hidden": first[:, -1:].to(feats.dtype)}

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
    """The front end by name; convolution knows a factor of 4 only."""
    if kind == "stacking":
        return FrameStacking(input_dim, output_dim, factor)
    if factor != ConvSubsampling.factor:
        raise InputError(f"subsampling_factor: convolution subsampling is by {ConvSubsampling.factor}, not {factor}")
    return ConvSubsampling(input_dim, channels, output_dim)
