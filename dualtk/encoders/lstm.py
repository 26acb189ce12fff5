"""LSTM encoder of a transducer (CoDERT, section 4.1; He et al. 2019).

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, zero_state
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualNorm
from dualtk.nn.state import Spec, State, nest, nest_state, split_state
from dualtk.nn.subsampling import stack_frames
from dualtk.options import Depth, Fraction, Section, Unit


class LSTMLayer(nn.Module):
    """One LSTM layer, norm, dropout. Deviation from CoDERT: the layer norm, as in He et al. (2019)."""

    def __init__(self, input_dim: int, dim: int, dropout: float, mode_names: Sequence[str]) -> None:
        super().__init__()
        self.dim = dim
        self.recurrence = nn.LSTM(input_dim, dim, batch_first=True)
        self.norm = DualNorm("layer", dim, mode_names)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) -> (B, T, D), from a zero state."""
        output: Tensor = self.dropout(self.norm(self.recurrence(x)[0], mode))
        return output

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """The same after what `state` remembers."""
        start = (state["hidden"].unsqueeze(0), state["cell"].unsqueeze(0))
        x, (hidden, cell) = self.recurrence(x, start)
        return self.dropout(self.norm(x, mode)), {"hidden": hidden.squeeze(0), "cell": cell.squeeze(0)}


class LSTMEncoder(nn.Module):
    """Stacked frames, LSTM layers with a time reduction between two of them, projection.

    It sees the past only: a full-context mode computes the same function with its own norms, and a streaming mode's
    left_context and chunk change nothing but how many frames a step decides.

    Args:
        input_dim: features per frame.
        mode_names: modes that own a set of norms.
        others: see `LSTMOptions`.
    """

    streaming_only = True

    def __init__(
        self,
        *,
        input_dim: int,
        mode_names: Sequence[str],
        dim: int,
        num_layers: int,
        dropout: float,
        stacking: int,
        time_reduction: int,
        time_reduction_layer: int,
        projection_dim: int | None,
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        if time_reduction > 1 and not 0 < time_reduction_layer < num_layers:
            raise InputError(f"time_reduction_layer: {time_reduction_layer} is not between two of {num_layers} layers")
        self.input_dim = input_dim
        self.output_dim = projection_dim or dim
        self.stacking = stacking
        self.time_reduction = time_reduction
        self.time_reduction_layer = time_reduction_layer
        self.subsampling = stacking * time_reduction
        input_dims = [stacking * input_dim] + [dim] * (num_layers - 1)
        if time_reduction > 1:
            input_dims[time_reduction_layer] = dim * time_reduction
        self.layers = nn.ModuleList(LSTMLayer(size, dim, dropout, mode_names) for size in input_dims)
        self.projection = nn.Linear(dim, projection_dim) if projection_dim else nn.Identity()

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) normalised features with their (B,) lengths -> (B, ceil(T / subsampling), D).

        `hidden` of the layers before the time reduction has the frames that become one side by side; there are no
        heads to return.
        """
        padded = pad_features(feats, lengths, self.subsampling, mode)
        x = stack_frames(padded.feats, self.stacking)
        output = EncoderOutput(x, padded.lengths)
        for index, layer in enumerate(self.layers):
            x = self._run(layer, self._reduce(x, index), mode)
            output.hidden.append(padded.crop(x if self._is_reduced(index) else stack_frames(x, self.time_reduction)))
        output.frames = padded.crop(self.projection(x))
        return output

    def _run(self, layer: nn.Module, x: Tensor, mode: Mode) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = recompute(layer, x, mode, use_reentrant=False)
            return result
        result = layer(x, mode)
        return result

    def _is_reduced(self, index: int) -> bool:
        return index >= self.time_reduction_layer

    def _reduce(self, x: Tensor, index: int) -> Tensor:
        return stack_frames(x, self.time_reduction) if index == self.time_reduction_layer else x

    def state_spec(self, mode: Mode) -> Spec:
        """Hidden and cell vectors of each layer."""
        require_streaming(mode)
        spec: Spec = {}
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            spec |= nest(f"layer{index}", {"hidden": (layer.dim,), "cell": (layer.dim,)})
        return spec

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""
        return zero_state(self.state_spec(mode), batch, next(self.parameters()))

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""
        require_streaming(mode)
        parts = split_state(state)
        x, new_state = stack_frames(chunk, self.stacking), State()
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            x, layer_state = layer.step(self._reduce(x, index), parts[f"layer{index}"], mode)
            new_state |= nest_state(f"layer{index}", layer_state)
        return self.projection(x), new_state


class LSTMOptions(Section):
    """LSTM encoder (CoDERT, section 4.1): stacked frames, LSTM layers, a time reduction between two of them."""

    name: Literal["lstm"]
    """Which encoder."""
    dim: PositiveInt = 640
    """Units of each layer."""
    num_layers: Depth = 4
    """LSTM layers."""
    dropout: Fraction = 0.1
    """After each layer."""
    stacking: Annotated[PositiveInt, Unit("feature frames")] = 3
    """Feature frames that are stacked into one."""
    time_reduction: Annotated[PositiveInt, Unit("frames")] = 2
    """Output frames of a layer that are stacked into one input of the next; 1 for none."""
    time_reduction_layer: PositiveInt = 2
    """Layers before the time reduction."""
    projection_dim: PositiveInt | None = None
    """Width of a linear layer at the end (CoDERT: the vocabulary); null for none."""
    gradient_checkpointing: bool = False
    """Compute layers again in the backward pass, to save memory."""

    def build(self, input_dim: int, mode_names: Sequence[str]) -> LSTMEncoder:
        """The encoder of features of `input_dim`, with one set of norms for each mode."""
        return LSTMEncoder(input_dim=input_dim, mode_names=mode_names, **self.arguments())
