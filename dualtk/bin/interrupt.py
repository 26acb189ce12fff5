"""Ctrl-C as the end of what comes in, so that what has come in is worked up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def until_interrupted(pieces: Iterable[T]) -> Iterator[T]:
    """`pieces` until they end or Ctrl-C is pressed, which interrupts the wait for a piece but not the work on one. A
    second Ctrl-C interrupts anything. In threads other than the main one Ctrl-C keeps its usual meaning."""
    if threading.current_thread() is not threading.main_thread():
        yield from pieces
        return
    is_waiting, is_asked = False, False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        if is_waiting or is_asked:
            raise KeyboardInterrupt
        is_asked = True

    before = signal.signal(signal.SIGINT, interrupt)
    source = iter(pieces)
    try:
        while not is_asked:
            is_waiting = True
            try:
                piece = next(source)
            except (StopIteration, KeyboardInterrupt):
                return
            finally:
                is_waiting = False
            yield piece
    finally:
        signal.signal(signal.SIGINT, before)
