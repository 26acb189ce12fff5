"""Transcripts as people write them, made into words to recognise: Unicode, case, punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Case = Literal["keep", "upper", "lower"]
APOSTROPHES = "'\u2019\u02bc\u2018"  # all of them are written as the first


@dataclass(frozen=True)
class Normalisation:
    """What is done to a transcript; without anything, runs of white space still become one space.

    Attributes:
        unicode: the form of letters that can be written in several ways; None: as they are.
        case: of all letters.
        remove_punctuation: every mark becomes a space, but an apostrophe inside a word stays.
    """

    unicode: Literal["NFC", "NFKC"] | None = "NFC"
    case: Case = "keep"
    remove_punctuation: bool = False

    def __call__(self, text: str) -> str:
        """The words of a transcript, a space between each."""
        if self.unicode is not None:
            text = unicodedata.normalize(self.unicode, text)
        if self.case != "keep":
            text = text.upper() if self.case == "upper" else text.lower()
        if self.remove_punctuation:
            text = _without_punctuation(text)
        return " ".join(text.split())


def _without_punctuation(text: str) -> str:
    kept = []
    for place, letter in enumerate(text):
        inside = 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()
        if letter in APOSTROPHES:
            kept.append("'" if inside else " ")
        else:
            kept.append(" " if unicodedata.category(letter).startswith("P") else letter)
    return "".join(kept)


def warn_of_digits(source: Path, texts: Mapping[str, str]) -> list[str]:
    """One line where transcripts hold digits or symbols such as % and $, which are not written as they are spoken."""
    found = [name for name, text in texts.items() if any(map(_is_read_otherwise, text))]
    if not found:
        return []
    return [
        f"{source}: {len(found)} of {len(texts)} transcripts hold digits or symbols, which are left as they are; words "
        f"as they are spoken are learnt better. The first: {found[0]} {texts[found[0]]}"
    ]


def _is_read_otherwise(letter: str) -> bool:
    return letter.isdigit() or letter in "%&@#" or unicodedata.category(letter) in ("Sc", "Sm")
