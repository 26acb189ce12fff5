"""Transcripts as people write them, made into words to recognise: Unicode, case, punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Case = Literal["keep", "upper", "lower"]
# They are written without spaces, and a space of no width may stand where a word ends.
WITHOUT_SPACES = ("THAI", "LAO", "KHMER", "MYANMAR")
JOINERS = "\u200c\u200d"  # of no width, but they belong to words of Persian and of Indian languages
APOSTROPHES = "'\u2019\u02bc\u2018"  # all of them are written as the first


@dataclass(frozen=True)
class Normalisation:
    """What is done to a transcript; without anything, runs of white space still become one space, and what has no width
    goes.

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
        if not text.isascii():
            text = "".join(_seen(letter, text[place - 1 : place]) for place, letter in enumerate(text))
        if self.unicode is not None:
            text = unicodedata.normalize(self.unicode, text)
        if self.case != "keep":
            text = text.upper() if self.case == "upper" else text.lower()
        if self.remove_punctuation:
            text = _without_punctuation(text)
        return " ".join(text.split())


def is_unseen(letter: str) -> bool:
    """Whether a character is seen by nobody, such as a mark of byte order or a soft hyphen."""
    return unicodedata.category(letter) == "Cf" and letter not in JOINERS


def _seen(letter: str, before: str) -> str:
    """What stands for a letter where only what is seen counts."""
    if not is_unseen(letter):
        return letter
    is_end_of_word = letter == "\u200b" and unicodedata.name(before or " ", "").startswith(WITHOUT_SPACES)
    return " " if is_end_of_word else ""


def warn_of_unseen(source: Path, texts: Mapping[str, str]) -> list[str]:
    """One line where transcripts hold characters that nobody sees, and that would become tokens."""
    found = {name: next(filter(is_unseen, text), "") for name, text in texts.items() if not text.isascii()}
    found = {name: letter for name, letter in found.items() if letter}
    if not found:
        return []
    name, letter = next(iter(found.items()))
    return [
        f"{source}: {len(found)} of {len(texts)} transcripts hold characters that cannot be seen, which become tokens "
        f"(dualtk data copy removes them). The first: {name}, U+{ord(letter):04X}"
    ]


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
