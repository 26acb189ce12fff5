"""Streams of many clients over one network: threads that step their first passes, and one for what takes long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from dualtk.frames import FRAME_SECONDS
from dualtk.recognizer import TWO_PASS, Recognizer
from dualtk.serving.completing import Completing
from dualtk.serving.events import Event
from dualtk.serving.metrics import Metrics
from dualtk.serving.served import Served
from dualtk.serving.stepper import Stepper


class Scheduler:
    """Decodes the streams that it opens; to be made on the thread of a running event loop, which gets the events.

    Args:
        recognizer: decodes everything but whole utterances alone.
        whole: decodes whole utterances alone.
        metrics: counts.
        threads: that step streams, each those that are its own.
    """

    def __init__(self, recognizer: Recognizer, whole: Recognizer, metrics: Metrics, threads: int) -> None:
        self._recognizer = recognizer
        self._whole = whole
        self._loop = asyncio.get_running_loop()
        has_first = "streaming" in recognizer.trained.system.modes
        step = (recognizer.passes("streaming") if has_first else whole.passes("full")).step
        self.chunk_seconds = step * FRAME_SECONDS
        self._completing = Completing(metrics, self._post)
        self._steppers = [
            Stepper(recognizer, self.chunk_seconds, self._completing, metrics, self._post) for _ in range(threads)
        ]

    def open(self, mode: str, *, is_live: bool, hotwords: Sequence[str] = ()) -> Served:
        """A new stream.

        Raises:
            InputError: no such mode, or a hotword that the network has no tokens for.
        """
        is_whole = mode != TWO_PASS and self._whole.trained.mode(mode).full_context
        recognizer = self._whole if is_whole else self._recognizer
        stepper = min(self._steppers, key=lambda one: len(one.streams()))
        served = Served(recognizer.stream(mode, hotwords=hotwords, later=True), is_live=is_live, wake=stepper.wake)
        stepper.add(served)
        return served

    def streams(self) -> list[Served]:
        """Those that have not ended."""
        return [served for stepper in self._steppers for served in stepper.streams() if not served.is_left]

    def count(self, *, is_live: bool) -> int:
        """How many there are."""
        return sum(one.is_live == is_live for one in self.streams())

    def waiting_seconds(self) -> float:
        """Audio of live streams that waits to be decoded."""
        return sum(one.waiting_seconds for one in self.streams() if one.is_live)

    def close_all(self) -> None:
        """No more audio of anyone will come."""
        for one in self.streams():
            one.close()

    def stop(self) -> None:
        """End the threads; what has not been decoded stays so."""
        for stepper in self._steppers:
            stepper.stop()
        self._completing.stop()

    def _post(self, events: list[tuple[Served, Event]]) -> None:
        """To the event loop, all at once."""
        if events:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_deliver, events)


def _deliver(events: list[tuple[Served, Event]]) -> None:
    for served, event in events:
        served.mailbox.put(event)
