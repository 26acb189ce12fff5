"""A recording of any length, cut into utterances as it comes: each is decoded as if it were alone.

A network that was trained on single utterances falls silent after the first sentence of a long recording, for it has
learnt that nothing follows, and in silence it says words that are not there. So after an endpoint decoding begins anew
with the next speech, in encoder and search, and silence is not decoded.

The first pass decodes in a streaming mode while audio comes in; the second decodes each utterance that is over with all
of it in view, from the features that are there. What is kept is bounded by the longest utterance.

Shapes: T feature frames, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dualtk.frames import FRAME_SECONDS
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis, joined
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.activity import Frames, Part, quietest
from dualtk.streaming.endpoint import EndpointOptions, Trailing
from dualtk.streaming.session import Session, StreamingDecoder

LEAD = 30  # frames before speech with which an utterance begins
FIRST_QUIET = 100  # frames without speech after which the beginning of a recording is given up
STEP = 8  # frames between two looks at the rules where there is no first pass
REPEATED = 100  # frames before an endpoint without labels that the next utterance may begin with
MISSED = 100  # frames of speech after the last label of a second pass that are decoded once more


@dataclass(frozen=True)
class Utterance:
    """A part of a recording that is over, and what was recognised in it.

    Attributes:
        start: its first feature frame, counted from the start of the recording.
        frames: all of it; its features (T, F) are raw.
        first: result of the first pass; its frames are encoder frames from `start` on. None: there was none.
        second: result of the second pass, likewise. Both are None, too, where they wait for `Passes.complete`.
    """

    start: int
    frames: Part
    first: Hypothesis | None
    second: Hypothesis | None

    @property
    def feats(self) -> Tensor:
        """(T, F), raw."""
        return self.frames.feats


class Passes:
    """How recordings are decoded; at least one of the two passes is there.

    Args:
        first: decodes as audio comes in; or None.
        second: decodes what is over; or None.
        endpoints: when an utterance is over.
        is_log: whether features are logarithms of energies.
        later: whether what takes long waits for `complete`: the second pass over what is over, and the first over what
            was cut before where it had come.
    """

    def __init__(
        self,
        first: StreamingDecoder[Any] | None,
        second: WholeDecoder | None,
        endpoints: EndpointOptions,
        *,
        is_log: bool,
        later: bool = False,
    ) -> None:
        self.first = first
        self.second = second
        self.endpoints = endpoints
        self.is_log = is_log
        self.later = later
        network = first.network if first is not None else second.network if second is not None else None
        assert network is not None
        self.subsampling = network.encoder.subsampling
        self.input_dim = network.encoder.input_dim
        self.step = STEP if first is None else first.chunk_features

    def with_search(self, search: Search[Any]) -> Passes:
        """The same passes with another search."""
        first = None if self.first is None else self.first.with_search(search)
        second = None if self.second is None else WholeDecoder(self.second.network, self.second.mode, search)
        return Passes(first, second, self.endpoints, is_log=self.is_log, later=self.later)

    def with_second_later(self) -> Passes:
        """The same passes; the second waits for `complete`, which may be called on another thread."""
        return Passes(self.first, self.second, self.endpoints, is_log=self.is_log, later=True)

    def complete(self, utterance: Utterance) -> Utterance:
        """With what has waited."""
        if not self.later:
            return utterance
        first = self.decode_cut(utterance.frames) if utterance.first is None else utterance.first
        return replace(utterance, first=first, second=self.decode_whole(utterance.frames))

    def decode_cut(self, frames: Part) -> Hypothesis | None:
        """The first pass over an utterance that was cut before where it had come."""
        if self.first is None:
            return None
        session = self.first.open()
        session.push_features(frames.feats)
        return session.finish()

    def advance(self, recordings: Sequence[Recording], steps: int | None = None) -> None:
        """Decode what the recordings have so far, `steps` of each at most; their first passes take steps together."""
        while steps != 0 and (ready := [one for one in recordings if one.prepare()]):
            steps = None if steps is None else steps - 1
            if self.first is not None:
                self.first.advance([one.session for one in ready if one.session is not None])
            for one in ready:
                one.settle()

    def decode_whole(self, frames: Part) -> Hypothesis | None:
        """The second pass over an utterance; speech that it falls silent before is decoded once more."""
        if self.second is None:
            return None
        parts, offset = [], 0
        while True:
            feats = frames.feats[offset:]
            (found,) = self.second.decode(feats.unsqueeze(0), torch.tensor([len(feats)]))
            parts.append(found[0].shifted(offset // self.subsampling))
            last = (parts[-1].frames[-1] + 1) * self.subsampling if found[0].frames else len(frames)
            if not self.endpoints.enabled or int(frames.is_speech[last:].sum()) < MISSED:
                return joined(parts)
            place = last + quietest(frames.energies[last : last + MISSED])
            offset += (place - offset) // self.subsampling * self.subsampling


class Recording:
    """One recording; `Passes.advance` decodes what was pushed.

    Attributes:
        session: first pass of the current utterance.
        finished: utterances that are over; the caller takes them away.
    """

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.session: Session[Any] | None = None
        self.finished: list[Utterance] = []
        self._frames = Frames(passes.input_dim, is_log=passes.is_log)
        self._closed = False
        self._is_open = False  # an utterance has begun
        self._read = 0  # number of the frame that is looked at next
        self._spoken: int | None = None  # the frame after the utterance's last with speech
        self._begin(0)

    def push(self, feats: Tensor) -> None:
        """More features (T, F)."""
        self._frames.append(feats)

    def close(self) -> None:
        """No more features will come."""
        self._closed = True

    @property
    def partial(self) -> Hypothesis | None:
        """The first pass of the current utterance so far; its frames are encoder frames from `start` on."""
        return None if self.session is None else self.session.best

    @property
    def is_ready(self) -> bool:
        """Whether there is a step to be taken."""
        available = self._frames.end - self._read
        return available >= self.passes.step or (self._closed and (available > 0 or self._is_open))

    @property
    def num_read(self) -> int:
        """Feature frames that have been decoded or passed over."""
        return self._read

    @property
    def start(self) -> int:
        """First feature frame of the current utterance, or of what the next may begin with."""
        return self._frames.first

    def prepare(self) -> bool:
        """Take the next frames, where there are some; `settle` is to be called after the first pass over them."""
        if not self._is_open and not self._wait():
            return False
        if self._read == self.start and (empty := self._frames.part(self._read, self._frames.end).num_empty()):
            self._begin(self._read + empty)
        available = self._frames.end - self._read
        if available == 0 and self._closed:
            self._finish(self._read)
        if available == 0 or (available < self.passes.step and not self._closed):
            return False
        taken = self._frames.part(self._read, self._read + min(self.passes.step, available))
        if self.session is not None:
            self.session.push_features(taken.feats)
        spoken = taken.is_speech.nonzero()
        if len(spoken):
            self._spoken = self._read + int(spoken[-1]) + 1
        self._read += len(taken)
        return True

    def settle(self) -> None:
        """End the current utterance if it is over."""
        if not (endpoints := self.passes.endpoints).enabled:
            return
        labels_end = self._labels_end()
        now = Trailing(
            length=(self._read - self.start) * FRAME_SECONDS,
            blank=0.0 if self.session is None else (self._read - labels_end) * FRAME_SECONDS,
            quiet=self._quiet() * FRAME_SECONDS,
            has_labels=labels_end > self.start,
        )
        if endpoints.is_paused(now) and self._spoken is None:  # what was recognised in silence was not said
            self._leave(self._read)
        elif endpoints.is_paused(now):
            self._finish(self._read)
        elif endpoints.is_over(now):
            self._finish(self._quiet_place(labels_end if now.has_labels else self._read - REPEATED, now, endpoints))

    def _quiet(self) -> int:
        """Frames since there was speech."""
        if self._spoken is not None:
            return self._read - self._spoken
        return self._read - self.start if self._read - self.start >= FIRST_QUIET else 0

    def _labels_end(self) -> int:
        """The frame after the last label, or the start."""
        best = self.partial
        if best is None or not best.frames:
            return self.start
        return min(self._read, self.start + (best.frames[-1] + 1) * self.passes.subsampling)

    def _quiet_place(self, begin: int, now: Trailing, endpoints: EndpointOptions) -> int:
        """Where an utterance without a pause is cut: at the quietest place after `begin`."""
        if now.length >= endpoints.rule3_min_utterance_length:
            begin = min(begin, self._read - (self._read - self.start) // 3)
        begin, subsampling = max(begin, self.start), self.passes.subsampling
        place = begin + quietest(self._frames.part(begin, self._read).energies)
        return self.start + max(1, (place - self.start) // subsampling) * subsampling

    def _finish(self, end: int) -> None:
        """The current utterance ends before frame `end`."""
        frames, first = self._frames.part(self.start, end), None
        if self.passes.first is not None and self.session is not None:
            if end == self._read:
                first = self.session.finish()
            elif not self.passes.later:  # what came after the cut is of the next
                first = self.passes.decode_cut(frames)
        second = None if self.passes.later else self.passes.decode_whole(frames)
        self.finished.append(Utterance(self.start, frames, first, second))
        goes_on = end < self._read or self._spoken == end
        self._leave(end)
        if goes_on and not (self._closed and end == self._frames.end):
            self._begin(end)

    def _leave(self, end: int) -> None:
        """There is no utterance from frame `end` on, until the next begins."""
        self._frames.forget(end)
        self.session, self._is_open, self._read = None, False, end

    def _wait(self) -> bool:
        """Look for the next speech; whether an utterance began with it."""
        spoken = self._frames.part(self._read, self._frames.end).is_speech.nonzero()
        if len(spoken):
            self._begin(max(self.start, self._read + int(spoken[0]) - LEAD))
            return True
        self._read = self._frames.end
        self._frames.forget(self._read - LEAD)
        return False

    def _begin(self, start: int) -> None:
        """An utterance begins at frame `start`."""
        self._frames.forget(start)
        self._is_open, self._read = True, start
        self._spoken = None
        self.session = None if self.passes.first is None else self.passes.first.open()
