"""How `dualtk transcribe` shows its results: on a terminal, in a file, or as JSON lines."""

from __future__ import annotations

import json
import shutil
from typing import Protocol, TextIO

from dualtk.recognizer import Transcript

CLEAR_LINE = "\r\x1b[K"


class Display(Protocol):
    """Where results go."""

    def show(self, name: str, transcript: Transcript) -> None:
        """The text of the recording `name` so far, or the final one of a pass."""
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

    def show(self, name: str, transcript: Transcript) -> None:
        """See `Display.show`."""
        mode = transcript.mode if self.with_modes and transcript.is_final else ""
        source = " ".join(([name] if self.with_names else []) + ([mode] if mode else []))
        line = f"{source}: {transcript.text}" if source else transcript.text
        if transcript.is_final:
            self.clear()
            self._write(line + "\n")
        elif self.rewrites:
            room = shutil.get_terminal_size().columns - 1
            # A line that wraps cannot be taken back, so a long one shows its end.
            self._write(CLEAR_LINE + (line if len(line) <= room else "…" + line[len(line) - room + 1 :]))

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

    def show(self, name: str, transcript: Transcript) -> None:
        """See `Display.show`."""
        line: dict[str, object] = {"file": name, "type": "final" if transcript.is_final else "partial"}
        line |= {"mode": transcript.mode} if transcript.is_final else {}
        line |= {"text": transcript.text, "audio_seconds": round(transcript.audio_seconds, 3)}
        if transcript.is_final:
            line["words"] = [
                {
                    "word": word.text,
                    "start": round(word.start, 3),
                    "end": round(word.end, 3),
                    "confidence": round(word.confidence, 3),
                }
                for word in transcript.words
            ]
        self.output.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.output.flush()

    def clear(self) -> None:
        """Nothing: lines that were written stay."""
