"""Steps of streams by onnxruntime.

Shapes: N streams, T feature frames of a chunk, F features, C output frames of a chunk, D width, W windows of one shape.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dualtk.encoders.base import Encoder, State
from dualtk.errors import InputError
from dualtk.graphs.files import Graph
from dualtk.graphs.lean import LeanGraph, Windows, lean_graph
from dualtk.graphs.runtime import Array, Session
from dualtk.modes import Mode
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.state import Spec
from dualtk.streaming.compiled_step import Precision, fix_positions

NUM_STREAMS = 2  # that the graph is traced with


class _PlainStep(nn.Module):
    """`encoder.step` as a function of tensors only; states without numbers are not among them."""

    def __init__(self, encoder: Encoder, mode: Mode) -> None:
        super().__init__()
        self.encoder = encoder
        self.mode = mode
        spec = encoder.state_spec(mode)
        self.spec: Spec = {name: shape for name, shape in spec.items() if math.prod(shape)}
        self.empty: Spec = {name: shape for name, shape in spec.items() if not math.prod(shape)}

    def forward(self, chunk: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.spec, values))
        state |= {name: chunk.new_zeros(chunk.shape[0], *shape) for name, shape in self.empty.items()}
        frames, after = self.encoder.step(chunk, state, self.mode)
        return (frames, *(after[name] for name in self.spec))


def step_graph(encoder: Encoder, mode: Mode, precision: Precision) -> LeanGraph:
    """What `encoder.step` does in `mode`: `x` (N, T, F) and states -> `frames` (N, C, D) and states.

    Raises:
        InputError: unbounded left context, or a package is missing.
    """
    if mode.left_context is None:
        raise InputError(f"mode {mode.name}: a graph needs a bounded left_context")
    own = copy.deepcopy(encoder)
    assert isinstance(own, nn.Module)
    own.eval().requires_grad_(False)
    for layer in own.modules():
        if isinstance(layer, MaskedLinear):
            layer.weight.copy_(layer.masked_weight(mode))
            layer.set_mask(mode.name, None)
    plain = _PlainStep(own, mode)
    chunk = torch.randn(NUM_STREAMS, mode.chunk * encoder.subsampling, encoder.input_dim)
    states = {name: torch.zeros(NUM_STREAMS, *shape) for name, shape in plain.spec.items()}
    with torch.no_grad():
        fix_positions(own, lambda: plain(chunk, *states.values()))
    outputs = ["frames", *(f"new_{name}" for name in states)]
    graph = Graph(plain, {"x": chunk, **states}, outputs, {}, {})
    return lean_graph(graph, list(states), is_quantized=precision == "int8")


@dataclass
class Remembered:
    """What one stream remembers.

    Attributes:
        rings: of each group of windows (W, ...), whose frames go round: the next to be replaced is the oldest.
        others: (1, ...) by name.
        num_steps: since its start.
    """

    rings: list[Array]
    others: dict[str, Array]
    num_steps: int = 0


class OnnxSteps:
    """Steps of any number of streams together, in a mode with bounded left context. See `Steps`.

    Args:
        encoder: in eval mode, on a CPU; it is copied.
        mode: a streaming mode.
        precision: with int8 the products with weights are of 8 bits, with a scale for each frame of each stream.

    Raises:
        InputError: unbounded left context, or a package is missing.
    """

    together = True

    def __init__(self, encoder: Encoder, mode: Mode, precision: Precision) -> None:
        graph = step_graph(encoder, mode, precision)
        self.windows, self.others = graph.windows, graph.others
        self.spec = encoder.state_spec(mode)
        self._session = Session(graph.model)
        self._outputs = ["frames", *(group.output for group in self.windows), *(f"new_{name}" for name in self.others)]

    def start(self) -> Remembered:
        """A stream before its first chunk: zeros."""
        rings = [np.zeros((len(group.names), *group.shape), np.float32) for group in self.windows]
        return Remembered(rings, {name: np.zeros((1, *self.spec[name]), np.float32) for name in self.others})

    def advance(self, chunks: Tensor, streams: Sequence[Remembered]) -> Tensor:
        """A chunk (N, T, F) of each stream -> its frames (N, C, D); what they remember changes in place."""
        inputs: dict[str, Array] = {"x": chunks.numpy()}
        for number, group in enumerate(self.windows):
            together = _unrolled(group, [one.rings[number] for one in streams], [one.num_steps for one in streams])
            inputs |= zip(group.names, together)
        for name in self.others:
            inputs[name] = np.concatenate([one.others[name] for one in streams])
        frames, *outputs = self._session.run(self._outputs, inputs)
        fresh, others = outputs[: len(self.windows)], outputs[len(self.windows) :]
        for row, stream in enumerate(streams):
            for group, ring, new in zip(self.windows, stream.rings, fresh):
                _write(group, ring, new[:, row], stream.num_steps)
            stream.others = {name: value[row : row + 1] for name, value in zip(self.others, others)}
            stream.num_steps += 1
        return torch.from_numpy(frames)

    def save(self, stream: Remembered) -> State:
        """What a stream remembers, as the encoder itself would have it: (1, ...) by name."""
        state = {name: torch.zeros(1, *shape) for name, shape in self.spec.items()}
        for group, ring in zip(self.windows, stream.rings):
            (*values,) = _unrolled(group, [ring], [stream.num_steps])
            state |= {name: torch.from_numpy(value) for name, value in zip(group.names, values)}
        return state | {name: torch.from_numpy(value.copy()) for name, value in stream.others.items()}

    def restore(self, saved: State) -> Remembered:
        """The stream that was saved, by these steps or by PyTorch's."""
        rings = [np.concatenate([saved[name].numpy() for name in group.names]) for group in self.windows]
        return Remembered(rings, {name: saved[name].numpy().copy() for name in self.others})


def _unrolled(group: Windows, rings: Sequence[Array], steps: Sequence[int]) -> Array:
    """Rings (W, ...) of N streams that have had so many steps -> windows (W, N, ...), oldest frame first."""
    together = np.empty((len(group.names), len(rings), *group.shape), np.float32)
    size, axis = group.shape[group.axis], group.axis
    for row, (ring, taken) in enumerate(zip(rings, steps)):
        oldest = taken * group.num_new % size
        _at(together[:, row], axis, 0, size - oldest)[...] = _at(ring, axis, oldest, size)
        _at(together[:, row], axis, size - oldest, size)[...] = _at(ring, axis, 0, oldest)
    return together


def _write(group: Windows, ring: Array, fresh: Array, steps: int) -> None:
    """Put the new frames (W, ...) of a step into a ring that has had `steps`, in the place of the oldest."""
    size, axis, count = group.shape[group.axis], group.axis, group.num_new
    first = max(0, count - size)  # of those that the ring has room for
    begin = (steps * count + first) % size
    turn = min(count, first + size - begin)  # where the ring begins anew
    _at(ring, axis, begin, begin + turn - first)[...] = _at(fresh, axis, first, turn)
    _at(ring, axis, 0, count - turn)[...] = _at(fresh, axis, turn, count)


def _at(values: Array, axis: int, begin: int, end: int) -> Array:
    """Frames `begin` to `end` of (W, ...)."""
    part: Array = values[(slice(None),) * (axis + 1) + (slice(begin, end),)]
    return part
