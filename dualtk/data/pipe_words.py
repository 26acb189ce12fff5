"""Arguments of the programs that pipes consist of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dualtk.data.reading import RawFormat, Step
from dualtk.errors import InputError

STDIN, STDOUT = ("-", "pipe:0", "/dev/stdin"), ("-", "pipe:", "pipe:1", "/dev/stdout")
LOSSLESS = {
    "wav",
    "wavpcm",
    "rif",
    "riff",
    "sph",
    "nist",
    "flac",
    "aiff",
    "au",
}  # of output: samples stay what they are


@dataclass(frozen=True)
class Stage:
    """What one program reads, `-` being what the one before it wrote, and does."""

    file: str
    steps: tuple[Step, ...] = ()
    raw: RawFormat | None = None
    compressed: bool = False


class Words:
    """The arguments of a program, taken from the left."""

    def __init__(self, program: str, words: list[str]) -> None:
        self.program, self._words = program, words

    def __iter__(self) -> Iterator[str]:
        while self._words:
            yield self._words.pop(0)

    def value(self, option: str) -> str:
        """The value of an option."""
        if not self._words:
            raise InputError(f"the option {option} of {self.program} without a value")
        return self._words.pop(0)

    def refuse(self, word: str) -> InputError:
        """What is said of a word that is not known."""
        return InputError(f"{word} of {self.program}")

    def only(self, files: list[str]) -> str:
        """The one file of a program."""
        if len(files) != 1:
            raise InputError(f"{len(files)} files of {self.program}")
        return files[0]


def decibels(value: str) -> float:
    """The factor of an amplitude."""
    return float(10.0 ** (float(value) / 20.0))


def clock(value: str) -> float:
    """Seconds of `12.5`, `1:02.5` or `0:01:02.5`."""
    try:
        parts = [float(part) for part in value.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < float("inf") for part in parts):
        raise InputError(f"the time {value}")
    seconds = 0.0
    for part in parts:
        seconds = 60.0 * seconds + part
    return seconds


def sox_position(value: str) -> tuple[float, bool]:
    """A position, and whether it is in samples (`8000s`)."""
    if value.endswith("s"):
        return float(int(value[:-1])), True
    return clock(value), False


def sox_rate(value: str) -> int:
    """Hz of `8000` or `8k`."""
    try:
        rate = float(value[:-1]) * 1000 if value.endswith("k") else float(value)
    except ValueError:
        rate = 0.0
    if rate < 1 or rate != int(rate):
        raise InputError(f"the rate {value}")
    return int(rate)
