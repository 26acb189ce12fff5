"""One thread that steps the first passes of its streams together, a chunk of each at a time.

Who sends faster than he speaks gets no more of it than others. The more it has to do, the longer it waits for others to
be ready, half a chunk at most: a step of many streams costs little more than one of few.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import torch

from dualtk.recognizer import Recognizer
from dualtk.serving.completing import FAULT, Completing
from dualtk.serving.events import Ended, Event, Progress
from dualtk.serving.metrics import Metrics
from dualtk.serving.served import Served

WAIT = 1 / 8  # of a chunk at most, for more streams to be ready
LIVE = 4  # streams in one step: on a CPU more of them cost no less each, and the first would wait for the last
MEMORY = 0.9  # with which the share of time that steps take is followed
STEPS = 2  # of a stream in one round: one that goes back to a cut catches up, and the others do not wait for it
UPLOADS = 1  # that are decoded beside live streams in one round
UPLOAD_SECONDS = 1.0  # of an upload, where there are no live streams

log = logging.getLogger(__name__)


class Stepper:
    """Streams, and the thread that steps them.

    Args:
        recognizer: that opened their streams, or any other over the same network.
        chunk_seconds: of audio that are decided together.
        completing: does what takes long.
        metrics: counts.
        post: takes what clients are to hear.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        chunk_seconds: float,
        completing: Completing,
        metrics: Metrics,
        post: Callable[[list[tuple[Served, Event]]], None],
    ) -> None:
        self._recognizer = recognizer
        self._chunk_seconds = chunk_seconds
        self._completing = completing
        self._metrics = metrics
        self._post = post
        self._streams: set[Served] = set()
        self._waking: dict[Served, None] = {}  # that have something to do, longest waiting first
        self._woken = 0.0  # when the first of them had
        self._busy = 0.0  # share of the time that steps took of late
        self._condition = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="stepping", daemon=True)
        self._thread.start()

    def add(self, served: Served) -> None:
        """One more stream."""
        with self._condition:
            self._streams.add(served)

    def streams(self) -> list[Served]:
        """Those that have not ended."""
        with self._condition:
            return list(self._streams)

    def wake(self, served: Served) -> None:
        """A stream has something to do."""
        with self._condition:
            if served in self._streams:
                self._woken = self._woken if self._waking else time.monotonic()
                self._waking[served] = None
                self._condition.notify()

    def remove(self, served: Served) -> None:
        """A stream has ended."""
        with self._condition:
            self._streams.discard(served)
            self._waking.pop(served, None)

    def stop(self) -> None:
        """End the thread; what has not been decoded stays so."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(1)
        ended = time.monotonic()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waking or self._is_stopped)
                if self._is_stopped:
                    return
                several, since = len(self._streams) > 1, time.monotonic() - self._woken
            wait = WAIT * self._busy * self._chunk_seconds
            if several and since < wait:
                time.sleep(wait - since)
            began = time.monotonic()
            self._round(self._chosen())
            last, ended = ended, time.monotonic()
            self._busy = MEMORY * self._busy + (1 - MEMORY) * (ended - began) / (ended - last)
            self._metrics.count("stepping_seconds", ended - began)

    def _chosen(self) -> list[Served]:
        """Whose turn it is: the live streams that have waited longest for it, and some of the others."""
        with self._condition:
            gone = [one for one in self._waking if one.is_left]
            self._streams.difference_update(gone)
            waking = [one for one in self._waking if not one.is_left]
            live = [one for one in waking if one.is_live][:LIVE]
            uploads = [one for one in waking if not one.is_live][: UPLOADS if live else None]
            for one in (*gone, *live, *uploads):
                del self._waking[one]
            return live + uploads

    def _round(self, chosen: list[Served]) -> None:
        """A step of each."""
        chosen = [one for one in chosen if not one.is_left and not one.is_over]
        steps = STEPS if any(one.is_live for one in chosen) else None
        events: list[tuple[Served, Event]] = []
        try:
            for one in chosen:
                self._push(one, UPLOAD_SECONDS if steps is None else self._chunk_seconds)
            self._recognizer.advance([one.stream for one in chosen], steps)
            for one in chosen:
                events += self._news(one)
        except Exception:  # whatever a library raises must not end the streams that are to come
            log.exception("decoding failed")
            events += [(one, self._failed(one)) for one in chosen]
        self._post(events)

    def _push(self, served: Served, seconds: float) -> None:
        """Its next audio, or its end; not before it has caught up."""
        if served.stream.is_behind:
            return
        if served.has_audio:
            audio = served.take(seconds)
            served.stream.push(audio.samples, audio.rate)
            kind = "live" if served.is_live else "upload"
            self._metrics.count("audio_seconds", len(audio.samples) / audio.rate, kind=kind)
        elif served.is_closed and not served.is_ending:
            served.is_ending = True
            served.stream.close()

    def _news(self, served: Served) -> list[tuple[Served, Event]]:
        """What there is to say of a stream after a step; it goes on if it has more to do."""
        utterances = served.stream.take()
        for utterance in utterances:
            self._completing.add(served, utterance)
        if served.is_ending and not served.stream.is_behind:
            served.is_over = True
            self._completing.end(served)
            return []
        if served.has_audio or served.is_closed or served.stream.is_behind:
            self.wake(served)
        before, served.decoded = served.decoded, max(served.decoded, served.stream.decoded_seconds)
        if served.decoded <= before and not utterances:
            return []
        latency = served.latency(served.decoded)
        if served.is_live and latency is not None:
            self._metrics.took(latency)
        return [(served, Progress(served.number, served.stream.partial, served.decoded, latency))]

    def _failed(self, served: Served) -> Event:
        served.is_left = True
        self.remove(served)
        return Ended(FAULT)
