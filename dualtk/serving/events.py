"""What a client hears of its stream."""

from __future__ import annotations

from dataclasses import dataclass

from dualtk.transcript import Segment


@dataclass(frozen=True)
class Progress:
    """More of a stream was decoded.

    Attributes:
        number: of the segment that is being spoken.
        text: what the first pass says of it so far.
        decoded: seconds of the audio that have been decoded.
        latency: seconds from the arrival of the last of them to this; None if they came ahead of real time.
    """

    number: int
    text: str
    decoded: float
    latency: float | None


@dataclass(frozen=True)
class Final:
    """A segment has got its last text."""

    number: int
    segment: Segment
    decoded: float


@dataclass(frozen=True)
class Ended:
    """Nothing more will come; `error` where the stream could not go on."""

    error: str | None = None


Event = Progress | Final | Ended
