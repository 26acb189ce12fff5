"""How `dualtk transcribe` shows its results while they come: on a terminal, in a file, or as JSON lines."""

from __future__ import annotations

import json
import shutil
from typing import Protocol, TextIO

from dualtk.formats import as_dict
from dualtk.transcript import Segment

CLEAR_LINE = "\r\x1b[K"


class Display(Protocol):
    """Where results go."""

    def partial(self, name: str, text: str, audio_seconds: float) -> None:
        """What is said in the recording `name` since its last final segment, so far."""
        ...

    def final(self, name: str, segment: Segment, audio_seconds: float) -> None:
        """A segment of the recording `name`, after one of its passes."""
        ...

    def clear(self) -> None:
        """Take back what is on the screen of a recording that failed."""
        ...


class TextDisplay:
    """One line for each segment and pass. On a terminal it is rewritten while the text grows; elsewhere only its end is
    written.

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

    def partial(self, name: str, text: str, audio_seconds: float) -> None:
        """See `Display.partial`."""
        if self.rewrites:
            line, room = self._line(name, "", text), shutil.get_terminal_size().columns - 1
            # A line that wraps cannot be taken back, so a long one shows its end.
            self._write(CLEAR_LINE + (line if len(line) <= room else "…" + line[len(line) - room + 1 :]))

    def final(self, name: str, segment: Segment, audio_seconds: float) -> None:
        """See `Display.final`."""
        self.clear()
        self._write(self._line(name, segment.mode if self.with_modes else "", segment.text) + "\n")

    def clear(self) -> None:
        """See `Display.clear`."""
        if self.rewrites:
            self._write(CLEAR_LINE)

    def _line(self, name: str, mode: str, text: str) -> str:
        source = " ".join(([name] if self.with_names else []) + ([mode] if mode else []))
        return f"{source}: {text}" if source else text

    def _write(self, text: str) -> None:
        self.output.write(text)
        self.output.flush()


class JsonDisplay:
    """A line of JSON for every change; those of final segments say when each word was said, and how surely."""

    def __init__(self, output: TextIO) -> None:
        self.output = output

    def partial(self, name: str, text: str, audio_seconds: float) -> None:
        """See `Display.partial`."""
        self._write({"file": name, "type": "partial", "text": text, "audio_seconds": round(audio_seconds, 3)})

    def final(self, name: str, segment: Segment, audio_seconds: float) -> None:
        """See `Display.final`."""
        said = as_dict(segment)
        self._write({"file": name, "type": "final", **said, "audio_seconds": round(audio_seconds, 3)})

    def clear(self) -> None:
        """Nothing: lines that were written stay."""

    def _write(self, line: dict[str, object]) -> None:
        self.output.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.output.flush()
