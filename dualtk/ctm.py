"""Word times, as NIST's CTM files have them: `utt channel start duration WORD`, in seconds; `;;` is a comment."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.tables import read_lines

LATEST = 1e7  # seconds: more than any recording lasts


@dataclass(frozen=True)
class Word:
    """A word and where it is in the audio, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class TimedWord:
    """One line of a CTM: the word, the utterance it is of, and the line as it was written."""

    utterance: str
    word: Word
    line: str


def parse_ctm(path: Path) -> tuple[list[TimedWord], list[str]]:
    """Every word of a CTM, and its faults with file and line: too few fields, times that are negative or no numbers."""
    words: list[TimedWord] = []
    faults: list[str] = []
    try:
        lines = read_lines(path)
    except InputError as error:
        return [], [str(error)]
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        try:
            utterance, _, start, duration, word = fields[:5]
            times = float(start), float(duration)
        except ValueError:
            times = -math.inf, -math.inf
        if all(0.0 <= time < LATEST for time in times):
            words.append(TimedWord(utterance, Word(word, times[0], times[0] + times[1]), " ".join(fields)))
        else:
            faults.append(f"{path}:{number}: expected `utt channel start duration WORD`")
    return words, faults


def load_ctm(path: Path) -> list[TimedWord]:
    """Every word of a CTM; InputError names the first faulty line."""
    words, faults = parse_ctm(path)
    if faults:
        raise InputError(faults[0])
    return words


def read_ctm(path: Path) -> dict[str, list[Word]]:
    """The words of every utterance in order of start; InputError names the first faulty line."""
    words: dict[str, list[Word]] = {}
    for one in load_ctm(path):
        words.setdefault(one.utterance, []).append(one.word)
    return {utterance: sorted(group, key=lambda word: word.start) for utterance, group in words.items()}


def select_ctm(paths: Iterable[Path], utterances: Iterable[str]) -> str:
    """The lines of these utterances out of several files, as one CTM in the order of the utterances."""
    wanted = set(utterances)
    chosen = [one for path in paths for one in load_ctm(path) if one.utterance in wanted]
    return "".join(f"{one.line}\n" for one in sorted(chosen, key=lambda one: one.utterance))
