"""Streams: audio in pieces of any size in, labels and times out, one alone or many together.

Decoding a stream gives what decoding the whole utterance in the streaming mode gives (`WholeDecoder`). All that a
stream has to remember is in its `Session`; what streams share (network, mode, search) is in the `StreamingDecoder` that
opened them.

Shapes: B streams, C output frames of a chunk, T feature frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from dualtk.encoders.base import State, require_streaming
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.transducer.model import Transducer

StreamT = TypeVar("StreamT")
Step = Callable[[Tensor, State], tuple[Tensor, State]]


class FrontEnd(Protocol):
    """Audio of one stream to feature frames (`dualtk.data.stream.FbankStream`)."""

    def accept(self, samples: Tensor, sample_rate: int) -> Tensor:
        """Samples (N,) -> the frames (T, F) that they complete."""
        ...

    def finish(self) -> Tensor:
        """The frames (T, F) at the end of the audio."""
        ...

    def save(self) -> dict[str, Any]:
        """Tensors and numbers that `restore` takes."""
        ...

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where another front end was saved."""
        ...


@dataclass(frozen=True)
class Row:
    """One stream's row of an encoder state; the other rows belong to the streams that took the same step."""

    state: State
    index: int

    def alone(self) -> State:
        """The state of this stream only."""
        return {key: value[self.index : self.index + 1] for key, value in self.state.items()}


class Session(Generic[StreamT]):
    """One stream; opened by `StreamingDecoder.open`.

    Attributes:
        num_features: feature frames so far.
        num_frames: encoder frames searched.
    """

    def __init__(self, decoder: StreamingDecoder[StreamT], front_end: FrontEnd | None) -> None:
        self.decoder = decoder
        self.front_end = front_end
        self.num_features = 0
        self.num_frames = 0
        self.closed = False
        self.row: Row | None = decoder.start
        (self.stream,) = decoder.search.start(1)
        self._features = decoder.network.feature_mean.new_zeros(0, decoder.network.encoder.input_dim)
        self._to_skip = decoder.mode.look_ahead_frames

    @property
    def best(self) -> Hypothesis:
        """The best hypothesis so far; its frames are `frame_seconds` apart."""
        return self.nbest()[0]

    def nbest(self) -> list[Hypothesis]:
        """The hypotheses so far, best first."""
        return self.decoder.search.nbest(self.stream, final=self.closed and not self.is_ready)

    def times(self) -> list[float]:
        """For each token of `best`, seconds from the start of the audio to the frame that emitted it."""
        return [frame * self.decoder.frame_seconds for frame in self.best.frames]

    def push(self, samples: Tensor, sample_rate: int) -> None:
        """Take more audio (N,) in [-1, 1]; `StreamingDecoder.advance` then decodes it.

        Raises:
            InputError: what the front end refuses; the stream is as it was and may go on.
        """
        if self.closed or self.front_end is None:
            raise RuntimeError("this stream takes no audio: it was closed, or opened without a front end")
        self.push_features(self.front_end.accept(samples, sample_rate))

    def push_features(self, feats: Tensor) -> None:
        """Take more feature frames (T, F) of a stream that has no front end."""
        network = self.decoder.network
        self.num_features += len(feats)
        skipped = min(self._to_skip, len(feats))
        self._to_skip -= skipped
        feats = (feats[skipped:].to(network.feature_mean.device) - network.feature_mean) * network.feature_istd
        self._features = torch.cat([self._features, feats])

    def close(self) -> None:
        """No more audio will come."""
        if self.closed:
            return
        if self.front_end is not None:
            self.push_features(self.front_end.finish())
        # As for the whole utterance: zeros follow the input that ran ahead, and fill the last chunk.
        missing = -(-self._total_frames // self.decoder.mode.chunk) * self.decoder.chunk_features
        missing -= self.num_frames * self.decoder.network.encoder.subsampling + len(self._features)
        self._features = functional.pad(self._features, (0, 0, 0, missing))
        self.closed = True

    def accept(self, samples: Tensor, sample_rate: int) -> Hypothesis:
        """Take more audio and decode what can be; the best hypothesis so far."""
        self.push(samples, sample_rate)
        self.decoder.advance([self])
        return self.best

    def finish(self) -> Hypothesis:
        """Decode to the end of the audio; the result."""
        self.close()
        self.decoder.advance([self])
        return self.best

    @property
    def is_ready(self) -> bool:
        """Whether a whole chunk waits to be decoded."""
        return len(self._features) >= self.decoder.chunk_features

    def take(self) -> tuple[Tensor, int]:
        """The next chunk of features (C * subsampling, F), and how many of its output frames exist."""
        size = self.decoder.chunk_features
        chunk, self._features = self._features[:size], self._features[size:]
        existing = self.decoder.mode.chunk
        if self.closed:
            existing = min(existing, self._total_frames - self.num_frames)
        self.num_frames += existing
        return chunk, existing

    @property
    def _total_frames(self) -> int:
        """Output frames of the audio so far, as whole-utterance decoding counts them."""
        return -(-self.num_features // self.decoder.network.encoder.subsampling)

    def save(self) -> dict[str, Any]:
        """All that the stream is, as tensors, lists and numbers: `torch.load(..., weights_only=True)` reads it back."""
        row = self.row
        return {
            "num_features": self.num_features,
            "num_frames": self.num_frames,
            "closed": self.closed,
            "features": self._features.clone(),
            "to_skip": self._to_skip,
            "encoder": None if row is None else {key: value.clone() for key, value in row.alone().items()},
            "search": self.decoder.search.save(self.stream),
            "front_end": None if self.front_end is None else self.front_end.save(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where a stream of the same network, mode and search was saved."""
        self.num_features, self.num_frames = saved["num_features"], saved["num_frames"]
        self.closed, self._to_skip = saved["closed"], saved["to_skip"]
        self._features = saved["features"]
        self.row = None if saved["encoder"] is None else Row(saved["encoder"], 0)
        self.stream = self.decoder.search.restore(saved["search"])
        if self.front_end is not None:
            self.front_end.restore(saved["front_end"])


class StreamingDecoder(Generic[StreamT]):
    """Decodes utterances as they come, any number at once: the network, the mode, the search and the step of a chunk.

    Args:
        network: a trained transducer, in eval mode.
        mode: a streaming mode of it.
        search: greedy or beam search over its predictor and joiner.
        step: computes what `network.encoder.step` does in this mode (`dualtk.streaming.compiled_step`); that, if None.
        together: streams take a step together. With 8-bit arithmetic they would share the scale by which their input is
            rounded, and the result of one would depend on the others.

    Raises:
        InputError: a full-context mode.
    """

    def __init__(
        self,
        network: Transducer,
        mode: Mode,
        search: Search[StreamT],
        step: Step | None = None,
        *,
        together: bool = True,
    ) -> None:
        require_streaming(mode)
        self.network = network
        self.mode = mode
        self.search = search
        self.step: Step = step or (lambda chunk, state: network.encoder.step(chunk, state, mode))
        self.together = together
        self.chunk_features = mode.chunk * network.encoder.subsampling
        self.start = Row(network.encoder.init_state(1, mode), 0)

    def with_search(self, search: Search[StreamT]) -> StreamingDecoder[StreamT]:
        """The same step with another search."""
        return StreamingDecoder(self.network, self.mode, search, self.step, together=self.together)

    @property
    def frame_seconds(self) -> float:
        """Seconds from one encoder frame to the next."""
        return self.network.encoder.subsampling * FRAME_SECONDS

    def open(self, front_end: FrontEnd | None = None) -> Session[StreamT]:
        """A new stream of audio, or, without a front end, of features."""
        return Session(self, front_end)

    def decode(self, feats: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Raw feats (B, T, F) of `lengths` (B,) frames, each a stream -> their hypotheses, best first."""
        sessions = [self.open() for _ in feats]
        for session, own, length in zip(sessions, feats, lengths.tolist()):
            session.push_features(own[:length])
            session.close()
        self.advance(sessions)
        return [session.nbest() for session in sessions]

    def advance(self, sessions: Sequence[Session[StreamT]]) -> None:
        """Decode the audio that the sessions have so far."""
        for group in [sessions] if self.together else [[session] for session in sessions]:
            self._advance(group)

    @torch.inference_mode()
    def _advance(self, sessions: Sequence[Session[StreamT]]) -> None:
        """A chunk of all sessions that have one in each step, until none has."""
        while ready := [session for session in sessions if session.is_ready]:
            taken = [session.take() for session in ready]
            state = _gather([session.row for session in ready if session.row is not None])
            frames, state = self.step(torch.stack([chunk for chunk, _ in taken]), state)
            lengths = torch.tensor([existing for _, existing in taken])
            self.search.advance(frames, lengths, [session.stream for session in ready])
            for index, session in enumerate(ready):
                # A stream that is over must not keep the state of those that shared its last step.
                session.row = None if session.closed and not session.is_ready else Row(state, index)


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
