"""Steps of an encoder for many streams: the protocol of what computes them, and PyTorch's.

Shapes: N streams, T feature frames of a chunk, F features, C output frames of a chunk, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from dualtk.encoders.base import State

Step = Callable[[Tensor, State], tuple[Tensor, State]]
MemoryT = TypeVar("MemoryT")


class Steps(Protocol[MemoryT]):
    """What a decoder of streams asks of that which steps the encoder; what a stream remembers belongs to the caller.

    Attributes:
        together: streams may take a step together; what one gives then does not depend on the others.
    """

    together: bool

    def start(self) -> MemoryT:
        """What a stream remembers before its first chunk."""
        ...

    def advance(self, chunks: Tensor, streams: Sequence[MemoryT]) -> Tensor:
        """A chunk (N, T, F) of each stream -> its frames (N, C, D); what the streams remember changes in place."""
        ...

    def save(self, stream: MemoryT) -> State:
        """What a stream remembers, as a state of the encoder with one row."""
        ...

    def restore(self, saved: State) -> MemoryT:
        """The stream that was saved."""
        ...


@dataclass
class Row:
    """One stream's row of an encoder state; the other rows belong to the streams that took the same step."""

    state: State
    index: int

    def alone(self) -> State:
        """The state of this stream only."""
        return {key: value[self.index : self.index + 1] for key, value in self.state.items()}


class TorchSteps:
    """Steps by a function of PyTorch. See `Steps`.

    Args:
        step: of the chunks and states of any number of streams.
        initial: state of one stream at its start.
        together: see `Steps`.
    """

    def __init__(self, step: Step, initial: State, *, together: bool) -> None:
        self.together = together
        self._step = step
        self._initial = initial

    def start(self) -> Row:
        """See `Steps.start`."""
        return Row(self._initial, 0)

    def advance(self, chunks: Tensor, streams: Sequence[Row]) -> Tensor:
        """See `Steps.advance`."""
        frames, state = self._step(chunks, _gather(streams))
        for index, row in enumerate(streams):
            row.state, row.index = state, index
        return frames

    def save(self, stream: Row) -> State:
        """See `Steps.save`."""
        return {key: value.clone() for key, value in stream.alone().items()}

    def restore(self, saved: State) -> Row:
        """See `Steps.restore`."""
        return Row(saved, 0)


def _gather(rows: Sequence[Row]) -> State:
    """The rows as one state, without a copy where they are that already."""
    state = rows[0].state
    if all(row.state is state for row in rows):
        index = [row.index for row in rows]
        whole = index == list(range(len(next(iter(state.values())))))
        return state if whole else {key: value[index] for key, value in state.items()}
    alone = [row.alone() for row in rows]
    return {key: _stack([one[key] for one in alone]) for key in state}


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """(1, ...) tensors to one (B, ...). With unbounded left context the caches of older streams are longer: zeros,
    which the count of valid frames hides, stand before those of younger ones."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) > 1:
        longest = [max(sizes) for sizes in zip(*shapes)]
        tensors = [functional.pad(tensor, _padding(tensor, longest)) for tensor in tensors]
    return torch.cat(list(tensors))


def _padding(tensor: Tensor, longest: Sequence[int]) -> list[int]:
    """Arguments of `functional.pad`, last dimension first, that fill `tensor` up on the left."""
    missing = [size - own for size, own in zip(longest, tensor.shape)]
    return [amount for size in reversed(missing) for amount in (size, 0)]
