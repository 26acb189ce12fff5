"""Signals: the first lets the step end and the state be saved, a second ends the process at once.

Slurm sends SIGTERM, or SIGUSR1 where it is asked to warn; a terminal sends SIGINT, and SIGHUP when it is closed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
SAME = 0.2  # seconds: one Ctrl-C can come twice, from the terminal and from whoever started the process


class Interrupted(KeyboardInterrupt):
    """A signal while there was nothing to save."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.status = status_of(number)


def status_of(number: signal.Signals) -> int:
    """The exit status of a process that a signal stopped, as shells and schedulers count."""
    return 128 + number


class Stopping:
    """Which signal has come, if any.

    Attributes:
        number: the first signal.
        saves: whether there is a state to save: then a signal is only noted, else it raises `Interrupted`.
        speaks: whether this process says so.
    """

    def __init__(self) -> None:
        self.number: signal.Signals | None = None
        self.saves = False
        self.speaks = False
        self._since = 0.0

    @property
    def asked(self) -> bool:
        """Whether the run is to end."""
        return self.number is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Called by a signal."""
        now = time.monotonic()
        if self.number is None:
            self.number, self._since = signal.Signals(number), now
            if not self.saves:
                raise Interrupted(self.number)
            if self.speaks:
                text = f"\ndualtk: {self.number.name}: this step ends and is saved; once more ends at once\n"
                with suppress(OSError):  # of a terminal that is gone
                    os.write(2, text.encode())
        elif now - self._since > SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def stoppable() -> Iterator[Stopping]:
    """Signals go to what this yields while the block runs."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():  # Python takes signals in its first thread alone
        yield stopping
        return
    heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, stopping.handle) for number in heeded}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
