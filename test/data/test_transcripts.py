"""Transcripts made into words."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.data.transcripts import Normalisation, warn_of_digits, warn_of_unseen


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({}, "  Hello,\t world \n", "Hello, world"),
        ({}, "R\u0301", "\u0154"),
        ({"unicode": None}, "R\u0301", "R\u0301"),
        ({}, "\ufeffhel\u200blo \u200bwor\u00adld\u200e\u2060", "hello world"),
        ({}, "\u0e44\u0e17\u0e22\u200b\u0e14\u0e35", "\u0e44\u0e17\u0e22 \u0e14\u0e35"),
        (
            {},
            "\u0645\u06cc\u200c\u0631\u0648\u0645 \u0915\u094d\u200d\u0937",
            "\u0645\u06cc\u200c\u0631\u0648\u0645 \u0915\u094d\u200d\u0937",
        ),
        ({"unicode": "NFKC"}, "\ufb01ne \uff21", "fine A"),
        ({"case": "upper"}, "Stra\u00dfe", "STRASSE"),
        ({"case": "lower"}, "ÀÉ İx", "àé i\u0307x"),
        (
            {"remove_punctuation": True},
            "\u201cIt\u2019s,\u201d he said\u2014\u2018tis o'clock!",
            "It's he said tis o'clock",
        ),
        ({"remove_punctuation": True}, "well-known ... rock'n'roll' 'cause", "well known rock'n'roll cause"),
        ({"remove_punctuation": True}, "\u00bfQu\u00e9? \u3002\u4f60\u597d\u3002", "Qu\u00e9 \u4f60\u597d"),
        ({"remove_punctuation": True}, " -- !", ""),
    ],
)
def test_words_of_a_transcript(options: dict[str, object], text: str, expected: str) -> None:
    assert Normalisation(**options)(text) == expected


def test_digits_and_symbols_are_told_and_left() -> None:
    texts = {"a": "FIVE", "b": "AT 5 PM", "c": "50 %", "d": "\u0663", "e": "a + b"}
    (line,) = warn_of_digits(Path("x/text"), texts)
    assert line.startswith("x/text: 4 of 5 transcripts hold digits or symbols, which are left as they are")
    assert line.endswith("The first: b AT 5 PM")
    assert warn_of_digits(Path("x/text"), {"a": "FIVE O'CLOCK-ISH"}) == []


def test_characters_that_nobody_sees_are_told() -> None:
    texts = {"a": "FIVE", "b": "AT\u200b FIVE", "c": "\u0645\u06cc\u200c\u0631\u0648\u0645", "d": "\u00adX"}
    (line,) = warn_of_unseen(Path("x/text"), texts)
    assert line.startswith("x/text: 2 of 4 transcripts hold characters that cannot be seen")
    assert line.endswith("The first: b, U+200B")
    assert warn_of_unseen(Path("x/text"), {"a": "FIVE", "c": texts["c"]}) == []
