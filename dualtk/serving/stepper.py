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

WAIT = 0.5  # of a chunk at most, for more streams to be ready
MEMORY = 0.9  # with which the share of time that steps take is followed
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
        self._waking: set[Served] = set()  # that have something to do
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
                self._waking.add(served)
                self._condition.notify()

    def remove(self, served: Served) -> None:
        """A stream has ended."""
        with self._condition:
            self._streams.discard(served)
            self._waking.discard(served)

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
        """Whose turn it is: all live streams with audio, and some of the others."""
        with self._condition:
            gone = [one for one in self._waking if one.is_left]
            self._streams.difference_update(gone)
            waking = [one for one in self._waking if not one.is_left]
            live = [one for one in waking if one.is_live]
            uploads = [one for one in waking if not one.is_live][: UPLOADS if live else None]
            self._waking.difference_update(gone, live, uploads)
            return live + uploads

    def _round(self, chosen: list[Served]) -> None:
        """A chunk of each, and for those that have no more, their end."""
        has_live = any(one.is_live for one in chosen)
        events: list[tuple[Served, Event]] = []
        ready = [one for one in chosen if one.has_audio]
        try:
            self._decode(ready, has_live)
        except Exception:  # whatever a library raises must not end the streams that are to come
            log.exception("decoding failed")
            events += [(one, self._failed(one)) for one in ready]
        for one in chosen:
            if one.is_left or one.is_over:
                continue
            try:
                events += self._news(one)
            except Exception:
                log.exception("decoding failed")
                events.append((one, self._failed(one)))
        self._post(events)

    def _decode(self, ready: list[Served], has_live: bool) -> None:
        size = {one: self._chunk_seconds if one.is_live or has_live else UPLOAD_SECONDS for one in ready}
        taken = [one.take(size[one]) for one in ready]
        if not taken:
            return
        streams, samples = [one.stream for one in ready], [one.samples for one in taken]
        self._recognizer.accept(streams, samples, [one.rate for one in taken])
        for one, audio in zip(ready, taken):
            kind = "live" if one.is_live else "upload"
            self._metrics.count("audio_seconds", len(audio.samples) / audio.rate, kind=kind)

    def _news(self, served: Served) -> list[tuple[Served, Event]]:
        """What there is to say of a stream after a round; it goes on if it has more audio."""
        is_over = served.is_closed and not served.has_audio
        if is_over:
            served.is_over = True
            served.stream.finish()
        elif served.has_audio:
            self.wake(served)
        utterances = served.stream.take()
        for utterance in utterances:
            self._completing.add(served, utterance)
        if is_over:
            self._completing.end(served)
        before, served.decoded = served.decoded, served.stream.decoded_seconds
        if is_over or (served.decoded <= before and not utterances):
            return []
        latency = served.latency(served.decoded)
        if served.is_live and latency is not None:
            self._metrics.took(latency)
        return [(served, Progress(served.number, served.stream.partial, served.decoded, latency))]

    def _failed(self, served: Served) -> Event:
        served.is_left = True
        self.remove(served)
        return Ended(FAULT)
