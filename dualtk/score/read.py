"""The files that scoring reads: texts, word times, and the tokens of a decoding with their emission times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError

WORD_START = "\u2581"  # with which sentencepiece marks the beginning of a word


@dataclass(frozen=True)
class Word:
    """A word and where it is in the audio, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Emissions:
    """The tokens of an utterance's final hypothesis, and when each was emitted.

    Attributes:
        tokens: wordpieces.
        times: per token, seconds from the start of the audio at which the audio that its frame needs had arrived.
        duration: seconds of audio.
    """

    tokens: tuple[str, ...]
    times: tuple[float, ...]
    duration: float

    def words(self) -> list[Word]:
        """Words made of the tokens; start and end are the emissions of the first and the last token."""
        groups: list[list[int]] = []
        for index, token in enumerate(self.tokens):
            if token.startswith(WORD_START) or not groups:
                groups.append([])
            groups[-1].append(index)
        words = []
        for group in groups:
            text = "".join(self.tokens[index] for index in group).replace(WORD_START, "")
            if text:  # a lone word mark is no word
                words.append(Word(text, self.times[group[0]], self.times[group[-1]]))
        return words


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not empty; InputError where the file cannot be read."""
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, line


def read_text(path: Path) -> dict[str, str]:
    """A Kaldi table `key value...`: the rest of the line for each key, without outer spaces.

    Raises:
        InputError: the file is missing or a key comes twice.
    """
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        key, _, value = line.strip().partition(" ")
        if key in table:
            raise InputError(f"{path}:{number}: utterance {key} comes twice")
        table[key] = value.strip()
    return table


def read_ctm(path: Path) -> dict[str, list[Word]]:
    """Word times, `utt channel start duration WORD` in seconds, in order of start.

    Raises:
        InputError: the file is missing or a line is not of that form.
    """
    words: dict[str, list[Word]] = {}
    for number, line in read_lines(path):
        fields = line.split()
        try:
            utterance, _, start, duration, word = fields[:5]
            words.setdefault(utterance, []).append(Word(word, float(start), float(start) + float(duration)))
        except ValueError:
            raise InputError(f"{path}:{number}: expected `utt channel start duration WORD`") from None
    return {utterance: sorted(group, key=lambda word: word.start) for utterance, group in words.items()}


def read_emissions(path: Path) -> dict[str, Emissions]:
    """The `tokens.jsonl` of a decoding folder.

    Raises:
        InputError: the file is missing, or a line lacks a key or has lists of unequal lengths.
    """
    emissions: dict[str, Emissions] = {}
    for number, line in read_lines(path):
        try:
            entry = json.loads(line)
            tokens, times = tuple(entry["tokens"]), tuple(float(time) for time in entry["emissions"])
            emissions[entry["utt"]] = Emissions(tokens, times, float(entry["duration"]))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}:{number}: not a line of tokens with their emissions ({error})") from None
        if len(tokens) != len(times):
            raise InputError(f"{path}:{number}: {len(tokens)} tokens but {len(times)} emissions")
    return emissions
