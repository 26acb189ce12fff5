"""How `dualtk transcribe` shows what it hears: on a terminal, in a file, or as JSON lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO

from dualtk.search.hypothesis import SpokenWord

CLEAR_LINE = "\r\x1b[K"


@dataclass(frozen=True)
class Transcript:
    """The final text of one pass over one recording.

    Attributes:
        name: of the recording.
        mode: of the pass.
        text: what was said.
        heard: seconds of audio.
        frame_seconds: from one encoder frame to the next.
        words: with their encoder frames.
    """

    name: str
    mode: str
    text: str
    heard: float
    frame_seconds: float
    words: Sequence[SpokenWord]


class Display(Protocol):
    """Where results go."""

    def partial(self, name: str, text: str, heard: float) -> None:
        """The text so far, after `heard` seconds of audio."""
        ...

    def final(self, transcript: Transcript) -> None:
        """The text of a pass."""
        ...

    def clear(self) -> None:
        """Take back what is on the screen of a recording that failed."""
        ...


class TextDisplay:
    """One line for each pass. On a terminal it is rewritten while the text grows; elsewhere only its end is written.

    Args:
        output: where to.
        with_names: whether lines begin with the name of the recording.
        with_modes: whether the line of a pass says its mode.
    """

    def __init__(self, output: TextIO, with_names: bool, with_modes: bool = False) -> None:
        self.output = output
        self.with_names = with_names
        self.with_modes = with_modes
        self.rewrites = output.isatty()

    def _line(self, name: str, text: str, mode: str = "") -> str:
        source = " ".join(([name] if self.with_names else []) + ([mode] if self.with_modes and mode else []))
        return f"{source}: {text}" if source else text

    def partial(self, name: str, text: str, heard: float) -> None:
        """See `Display.partial`."""
        if self.rewrites:
            room = shutil.get_terminal_size().columns - 1
            line = self._line(name, text)
            # A line that wraps cannot be taken back, so a long one shows its end.
            self._write(CLEAR_LINE + (line if len(line) <= room else "…" + line[len(line) - room + 1 :]))

    def final(self, transcript: Transcript) -> None:
        """See `Display.final`."""
        self.clear()
        self._write(self._line(transcript.name, transcript.text, transcript.mode) + "\n")

    def clear(self) -> None:
        """See `Display.clear`."""
        if self.rewrites:
            self._write(CLEAR_LINE)

    def _write(self, text: str) -> None:
        self.output.write(text)
        self.output.flush()


class JsonDisplay:
    """A line of JSON for every change; the last of a pass says when each word was emitted, and how surely."""

    def __init__(self, output: TextIO) -> None:
        self.output = output

    def partial(self, name: str, text: str, heard: float) -> None:
        """See `Display.partial`."""
        self._write({"file": name, "type": "partial", "text": text, "heard": round(heard, 3)})

    def final(self, transcript: Transcript) -> None:
        """See `Display.final`."""
        words = [
            {
                "word": word.text,
                "start": round(word.first * transcript.frame_seconds, 3),
                "end": round((word.last + 1) * transcript.frame_seconds, 3),
                "confidence": round(word.confidence, 3),
            }
            for word in transcript.words
        ]
        line = {"file": transcript.name, "type": "final", "mode": transcript.mode, "text": transcript.text}
        self._write({**line, "heard": round(transcript.heard, 3), "words": words})

    def clear(self) -> None:
        """Nothing: lines that were written stay."""

    def _write(self, line: dict[str, object]) -> None:
        self.output.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.output.flush()
