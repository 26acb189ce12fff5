"""Streams of many clients, decoded together over one network.

One thread steps the first passes of all streams, a chunk of each at a time: who sends faster than he speaks gets no
more of it than others. It waits a fraction of a chunk for more streams to be ready, for a step of many costs little
more than one of few. Another thread, of lower priority, does what takes long: second passes and the times of words.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from dualtk.frames import FRAME_SECONDS
from dualtk.recognizer import TWO_PASS, Recognizer
from dualtk.serving.events import Ended, Event, Final, Progress
from dualtk.serving.metrics import Metrics
from dualtk.serving.served import Served
from dualtk.streaming.recording import Utterance

WAIT = 0.125  # of a chunk, for more streams to be ready
UPLOADS = 1  # that are decoded beside live streams in one round
UPLOAD_SECONDS = 1.0  # of an upload, where there are no live streams
NICENESS = 5  # by which second passes yield to first ones

FAULT = "this stream could not be decoded"  # what is wrong stands in the log

log = logging.getLogger(__name__)


class Scheduler:
    """Decodes the streams that it opens; to be made on the thread of a running event loop, which gets the events.

    Args:
        recognizer: decodes everything but whole utterances alone.
        whole: decodes whole utterances alone.
        metrics: counts.
        threads: of a step.
    """

    def __init__(self, recognizer: Recognizer, whole: Recognizer, metrics: Metrics, threads: int) -> None:
        self.metrics = metrics
        self._recognizer = recognizer
        self._whole = whole
        self._threads = threads
        self._streams: set[Served] = set()
        self._waking: set[Served] = set()  # that have something to do
        self._woken = 0.0  # when the first of them had
        self._condition = threading.Condition()
        self._is_stopped = False
        self._loop = asyncio.get_running_loop()
        self._completing = ThreadPoolExecutor(1, "completing", _yield_to_others)
        has_first = "streaming" in recognizer.trained.system.modes
        self.chunk_seconds = (
            recognizer.passes("streaming") if has_first else whole.passes("full")
        ).step * FRAME_SECONDS
        self._thread = threading.Thread(target=self._run, name="stepping", daemon=True)
        self._thread.start()

    def open(self, mode: str, *, is_live: bool, hotwords: Sequence[str] = ()) -> Served:
        """A new stream.

        Raises:
            InputError: no such mode, or a hotword that the network has no tokens for.
        """
        is_whole = mode != TWO_PASS and self._whole.trained.mode(mode).full_context
        recognizer = self._whole if is_whole else self._recognizer
        served = Served(recognizer.stream(mode, hotwords=hotwords, later=True), is_live=is_live, wake=self._wake)
        with self._condition:
            self._streams.add(served)
        return served

    def count(self, *, is_live: bool) -> int:
        """Streams that have not ended."""
        with self._condition:
            return sum(one.is_live == is_live for one in self._streams)

    def waiting_seconds(self) -> float:
        """Audio of live streams that waits to be decoded."""
        with self._condition:
            return sum(one.waiting_seconds for one in self._streams if one.is_live)

    def close_all(self) -> None:
        """No more audio of anyone will come."""
        with self._condition:
            streams = list(self._streams)
        for one in streams:
            one.close()

    def stop(self) -> None:
        """End the threads; what has not been decoded stays so."""
        with self._condition:
            self._is_stopped = True
            self._condition.notify()
        self._thread.join()
        self._completing.shutdown(cancel_futures=True)

    def _wake(self, served: Served) -> None:
        with self._condition:
            if served in self._streams:
                self._woken = self._woken if self._waking else time.monotonic()
                self._waking.add(served)
                self._condition.notify()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waking or self._is_stopped)
                if self._is_stopped:
                    return
                several, since = len(self._streams) > 1, time.monotonic() - self._woken
            if several and since < WAIT * self.chunk_seconds:  # those that are about to be ready may come along
                time.sleep(WAIT * self.chunk_seconds - since)
            began = time.monotonic()
            self._round(self._chosen())
            self.metrics.count("stepping_seconds", time.monotonic() - began)

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
        except Exception:  # whatever a library raises must not end the other streams that are to come
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
        size = {one: self.chunk_seconds if one.is_live or has_live else UPLOAD_SECONDS for one in ready}
        taken = [one.take(size[one]) for one in ready]
        if not taken:
            return
        self._recognizer.accept(
            [one.stream for one in ready], [one.samples for one in taken], [one.rate for one in taken]
        )
        for one, audio in zip(ready, taken):
            kind = "live" if one.is_live else "upload"
            self.metrics.count("audio_seconds", len(audio.samples) / audio.rate, kind=kind)

    def _news(self, served: Served) -> list[tuple[Served, Event]]:
        """What there is to say of a stream after a round; it goes on if it has more audio."""
        is_over = served.is_closed and not served.has_audio
        if is_over:
            served.is_over = True
            served.stream.finish()
        elif served.has_audio:
            self._wake(served)
        utterances = served.stream.take()
        for utterance in utterances:
            self._complete_later(served, utterance)
        if is_over:
            self._completing.submit(self._end, served, None)
        before, served.decoded = served.decoded, served.stream.decoded_seconds
        if is_over or (served.decoded <= before and not utterances):
            return []
        latency = served.latency(served.decoded)
        if served.is_live and latency is not None:
            self.metrics.took(latency)
        return [(served, Progress(served.number, served.stream.partial, served.decoded, latency))]

    def _complete_later(self, served: Served, utterance: Utterance) -> None:
        number = served.number
        has_second = served.stream.mode == TWO_PASS or utterance.first is None
        if has_second or (utterance.first is not None and utterance.first.tokens):
            served.number += 1
        served.over(len(utterance.frames) * FRAME_SECONDS)
        self._completing.submit(self._complete, served, number, utterance)

    def _complete(self, served: Served, number: int, utterance: Utterance) -> None:
        if served.is_left:
            return
        began = time.monotonic()
        try:
            segment = served.stream.complete(utterance)
        except Exception:
            log.exception("completing failed")
            self._end(served, FAULT)
            return
        served.completed(len(utterance.frames) * FRAME_SECONDS)
        self.metrics.count("completing_seconds", time.monotonic() - began)
        self._post([(served, Final(number, segment, served.decoded))])

    def _failed(self, served: Served) -> Event:
        served.is_left = True
        with self._condition:
            self._streams.discard(served)
        return Ended(FAULT)

    def _end(self, served: Served, error: str | None) -> None:
        if not served.is_left:
            served.is_left = True
            with self._condition:
                self._streams.discard(served)
            self._post([(served, Ended(error))])

    def _post(self, events: list[tuple[Served, Event]]) -> None:
        """To the event loop, all at once."""
        if events:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_deliver, events)


def _deliver(events: list[tuple[Served, Event]]) -> None:
    for served, event in events:
        served.mailbox.put(event)


def _yield_to_others() -> None:
    """Let threads with first passes go before this one, where the system can."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
