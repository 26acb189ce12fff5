"""One client's stream, between the event loop, which fills it, and the threads that decode it. N samples."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.data.audio import check_piece
from dualtk.errors import InputError
from dualtk.recognizer import Stream
from dualtk.serving.mailbox import Mailbox

EDGE = 0.0125  # seconds behind its frame that the window of a feature frame reaches, at most
AHEAD = 1.0  # seconds by which audio may come before it can have been spoken


@dataclass(frozen=True)
class Taken:
    """Audio that is decoded together: samples (N,) and their rate in Hz."""

    samples: Tensor
    rate: int


class Served:
    """A stream of the scheduler that opened it.

    Args:
        stream: of the recogniser, whose utterances are completed later.
        is_live: someone waits for its words; otherwise it yields to those.
        wake: is called when there is something to do.

    Attributes:
        mailbox: what the client is to hear.
        number: of the segment that is being spoken.
        decoded: seconds of its audio that have been decoded.
        is_closed: no more audio will come.
        is_ending: the decoder knows that no more will come.
        is_over: all of it has been stepped.
        is_left: its client has gone, or it could not go on.
    """

    def __init__(self, stream: Stream, *, is_live: bool, wake: Callable[[Served], None]) -> None:
        self.stream = stream
        self.is_live = is_live
        self.mailbox = Mailbox()
        self.number = 0
        self.decoded = 0.0
        self.is_closed = False
        self.is_ending = False
        self.is_over = False
        self.is_left = False
        self._wake = wake
        self._pieces: deque[Tensor] = deque()
        self._rate: int | None = None
        # Seconds; each is written by one thread only: those that fill, step and complete.
        self._pushed = 0.0
        self._stepped = 0.0
        self._to_complete = 0.0
        self._completed = 0.0
        self._began = math.inf  # when a client that speaks would have begun
        self._arrivals: deque[tuple[float, float]] = deque()  # end of a piece in seconds, and when it came

    @property
    def pushed_seconds(self) -> float:
        """Of audio so far."""
        return self._pushed

    @property
    def waiting_seconds(self) -> float:
        """Of its audio, what waits for a pass."""
        return self._pushed - self._stepped + self._to_complete - self._completed

    def push(self, samples: Tensor, rate: int) -> None:
        """More audio (N,) in [-1, 1]; it is decoded on another thread.

        Raises:
            InputError: no such audio; the stream goes on.
        """
        check_piece(samples, rate, self._rate)
        if self.is_closed:
            raise InputError("audio after its end")
        self._rate = rate
        seconds, now = len(samples) / rate, time.monotonic()
        self._began = min(self._began, now - seconds)
        self._pushed += seconds
        self._arrivals.append((self._pushed, now))
        self._pieces.append(samples)
        self._wake(self)

    def close(self) -> None:
        """No more audio will come; the rest is decoded, and `Ended` comes last."""
        self.is_closed = True
        self._wake(self)

    def leave(self) -> None:
        """Its client has gone: nothing of it is decoded any more."""
        self.is_left = True
        self._wake(self)

    @property
    def has_audio(self) -> bool:
        """Whether something waits to be decoded."""
        return bool(self._pieces)

    def take(self, seconds: float) -> Taken:
        """The next audio, about `seconds` of it; to be called on the thread that decodes."""
        assert self._rate is not None
        missing, samples = max(1, round(seconds * self._rate)), []
        while missing > 0 and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            samples.append(piece)
            missing -= len(piece)
            self._stepped += len(piece) / self._rate
        return Taken(torch.cat(samples), self._rate)

    def over(self, seconds: float) -> None:
        """An utterance of this length waits for what takes long."""
        self._to_complete += seconds

    def completed(self, seconds: float) -> None:
        """It has waited."""
        self._completed += seconds

    def latency(self, decoded: float) -> float | None:
        """Seconds since the audio up to `decoded` seconds was there; None if it came ahead of real time, for then it
        waits for that before it."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] < decoded + EDGE:
            self._arrivals.popleft()
        end, at = self._arrivals[0]
        return None if end - (at - self._began) > AHEAD else time.monotonic() - at
