"""What was said in a recording: its segments, and the whole of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dualtk.search.hypothesis import SpokenWord


@dataclass(frozen=True)
class Segment:
    """A part of a recording that is final, from one endpoint to the next; times in seconds from its start.

    Attributes:
        mode: that it was decoded in.
        start, end: of the part.
        text: what was said.
        words: each with its times and confidence.
        first_pass: with two passes, what the first had said.
    """

    mode: str
    start: float
    end: float
    text: str
    words: Sequence[SpokenWord]
    first_pass: Segment | None = None


@dataclass(frozen=True)
class Result:
    """What was said in a recording.

    Attributes:
        mode: that it was decoded in.
        segments: in order; silence between them is of none.
        audio_seconds: length of the recording.
    """

    mode: str
    segments: Sequence[Segment]
    audio_seconds: float

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def words(self) -> list[SpokenWord]:
        """All words."""
        return [word for segment in self.segments for word in segment.words]
