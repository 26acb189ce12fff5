"""What takes long, on a thread of its own that yields to those that step: second passes, and the times of words."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from dualtk.frames import FRAME_SECONDS
from dualtk.recognizer import TWO_PASS
from dualtk.serving.events import Ended, Event, Final
from dualtk.serving.metrics import Metrics
from dualtk.serving.served import Served
from dualtk.streaming.recording import Utterance

NICENESS = 2  # by which it yields; more would starve it where other programs compute
FAULT = "this stream could not be decoded"  # what is wrong stands in the log

log = logging.getLogger(__name__)


class Completing:
    """Takes utterances that are over, and gives the segments that they are, in order.

    Args:
        metrics: counts.
        post: takes what clients are to hear.
    """

    def __init__(self, metrics: Metrics, post: Callable[[list[tuple[Served, Event]]], None]) -> None:
        self._metrics = metrics
        self._post = post
        self._pool = ThreadPoolExecutor(1, "completing", _yield_to_others)

    def add(self, served: Served, utterance: Utterance) -> None:
        """One more; the segment after it gets another number if there may be something to say of this."""
        number = served.number
        has_second = served.stream.mode == TWO_PASS or utterance.first is None
        if has_second or (utterance.first is not None and utterance.first.tokens):
            served.number += 1
        served.over(len(utterance.frames) * FRAME_SECONDS)
        self._pool.submit(self._complete, served, number, utterance)

    def end(self, served: Served) -> None:
        """There will be no more of a stream."""
        self._pool.submit(self._end, served, None)

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._pool.shutdown(cancel_futures=True)

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
        self._metrics.count("completing_seconds", time.monotonic() - began)
        self._post([(served, Final(number, segment, served.decoded))])

    def _end(self, served: Served, error: str | None) -> None:
        if not served.is_left:
            served.leave()
            self._post([(served, Ended(error))])


def _yield_to_others() -> None:
    """Let threads with first passes go before this one, where the system can."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
