"""What scoring reads of a decoding: the tokens of each utterance, with their emission times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualtk.ctm import LATEST, Word
from dualtk.pieces import WORD_START, spelled
from dualtk.tables import number_in, read_jsonl, text_in


@dataclass(frozen=True)
class Emissions:
    """The tokens of an utterance's final hypothesis, and when each was emitted.

    Attributes:
        tokens: as in tokens.txt.
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
            text = spelled([self.tokens[index] for index in group])
            if text:  # a lone word mark is no word
                words.append(Word(text, self.times[group[0]], self.times[group[-1]]))
        return words


def _emissions(entry: Any) -> tuple[str, Emissions]:
    """The utterance and the emissions of a line of tokens.jsonl."""
    tokens, times = tuple(entry["tokens"]), tuple(map(number_in, entry["emissions"]))
    if not all(isinstance(token, str) for token in tokens):
        raise TypeError("a token is no text")
    if len(tokens) != len(times):
        raise ValueError(f"{len(tokens)} tokens but {len(times)} emissions")
    if not all(0.0 <= time < LATEST for time in times):
        raise ValueError("an emission before the audio, or long after it")
    return text_in(entry, "utt"), Emissions(tokens, times, number_in(entry["duration"]))


def read_emissions(path: Path) -> dict[str, Emissions]:
    """The `tokens.jsonl` of a decoding folder.

    Raises:
        InputError: the file is missing, or a line lacks a key or has lists of unequal lengths.
    """
    return dict(read_jsonl(path, _emissions, "tokens with their emissions"))
