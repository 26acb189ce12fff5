"""Streams: audio in pieces of any size in, labels and times out, one alone or many together.

Decoding a stream gives what decoding the whole utterance in the streaming mode gives (`WholeDecoder`). All that a
stream has to remember is in its `Session`; what streams share (network, mode, search) is in the `StreamingDecoder` that
opened them.

Shapes: B streams, C output frames of a chunk, T feature frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from dualtk.encoders.base import State, require_streaming
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.streaming.steps import Step, Steps, TorchSteps
from dualtk.transducer.joiner import Joiner
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import Predictor

Labels = tuple[Predictor, Joiner]
StreamT = TypeVar("StreamT")


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
        self.memory: Any = decoder.steps.start()  # None once the stream is over
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
        return {
            "num_features": self.num_features,
            "num_frames": self.num_frames,
            "closed": self.closed,
            "features": self._features.clone(),
            "to_skip": self._to_skip,
            "encoder": None if self.memory is None else self.decoder.steps.save(self.memory),
            "search": self.decoder.search.save(self.stream),
            "front_end": None if self.front_end is None else self.front_end.save(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where a stream of the same network, mode and search was saved."""
        self.num_features, self.num_frames = saved["num_features"], saved["num_frames"]
        self.closed, self._to_skip = saved["closed"], saved["to_skip"]
        self._features = saved["features"]
        encoder = saved["encoder"]
        self.memory = None if encoder is None else self.decoder.steps.restore(encoder)
        self.stream = self.decoder.search.restore(saved["search"])
        if self.front_end is not None:
            self.front_end.restore(saved["front_end"])


class StreamingDecoder(Generic[StreamT]):
    """Decodes utterances as they come, any number at once: the network, the mode, the search and the step of a chunk.

    Args:
        network: a trained transducer, in eval mode.
        mode: a streaming mode of it.
        search: greedy or beam search over its predictor and joiner.
        step: computes what `network.encoder.step` does in this mode (`dualtk.streaming.compiled_step`), or steps whole
            streams (`dualtk.streaming.onnx_steps`); None: `network.encoder.step`.
        together: of a function as `step`: streams take a step together. With one scale for the input of a product of 8
            bits, the result of one would depend on the others.
        labels: predictor and joiner that the search is to be over; None: those that it has.

    Raises:
        InputError: a full-context mode.
    """

    def __init__(
        self,
        network: Transducer,
        mode: Mode,
        search: Search[StreamT],
        step: Step | Steps[Any] | None = None,
        *,
        together: bool = True,
        labels: Labels | None = None,
    ) -> None:
        require_streaming(mode)
        self.network = network
        self.mode = mode
        self.search = search if labels is None else search.over(*labels)
        self.labels = labels
        self.chunk_features = mode.chunk * network.encoder.subsampling

        def own(chunk: Tensor, state: State) -> tuple[Tensor, State]:
            return network.encoder.step(chunk, state, mode)

        chosen = own if step is None else step
        self.steps: Steps[Any]
        if callable(chosen):
            self.steps = TorchSteps(chosen, network.encoder.init_state(1, mode), together=together)
        else:
            self.steps = chosen

    def with_search(self, search: Search[StreamT]) -> StreamingDecoder[StreamT]:
        """The same step with another search."""
        return StreamingDecoder(self.network, self.mode, search, self.steps, labels=self.labels)

    @property
    def together(self) -> bool:
        """Whether streams take a step together."""
        return self.steps.together

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
            chunks = torch.stack([chunk for chunk, _ in taken])
            frames = self.steps.advance(chunks, [session.memory for session in ready])
            lengths = torch.tensor([existing for _, existing in taken])
            self.search.advance(frames, lengths, [session.stream for session in ready])
            for session in ready:
                # A stream that is over must not keep the state of those that shared its last step.
                if session.closed and not session.is_ready:
                    session.memory = None
