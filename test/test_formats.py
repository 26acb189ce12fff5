"""Transcripts as files, read back by what is not ours where there is such a thing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dualtk.ctm import read_ctm
from dualtk.errors import InputError
from dualtk.formats import CUE_LETTERS, CUE_SECONDS, FORMATS, cues
from dualtk.search.hypothesis import SpokenWord
from dualtk.transcript import Result, Segment


def words(text: str, start: float, each: float = 0.5) -> list[SpokenWord]:
    return [
        SpokenWord(word, start + each * index, start + each * index + 0.9 * each, 0.8)
        for index, word in enumerate(text.split())
    ]


def segment(text: str, start: float, end: float) -> Segment:
    return Segment("full", start, end, text, words(text, start))


RESULT = Result("full", [segment("HELLO & <WORLD>", 0.5, 2.0), segment("GOOD NIGHT", 3725.0, 3727.0)], 3730.0)


def test_text_and_json() -> None:
    assert FORMATS["txt"]("a", RESULT) == "HELLO & <WORLD>\nGOOD NIGHT\n"
    read = json.loads(FORMATS["json"]("a", RESULT))
    assert (read["file"], read["text"], read["audio_seconds"]) == ("a", RESULT.text, 3730.0)
    assert read["segments"][1]["words"][0] == {"word": "GOOD", "start": 3725.0, "end": 3725.45, "confidence": 0.8}


def test_srt() -> None:
    blocks = FORMATS["srt"]("a", RESULT).split("\n\n")
    assert blocks[0] == "1\n00:00:00,500 --> 00:00:01,950\nHELLO & <WORLD>"
    assert blocks[1] == "2\n01:02:05,000 --> 01:02:05,950\nGOOD NIGHT\n"


def test_vtt() -> None:
    text = FORMATS["vtt"]("a", RESULT)
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.950\nHELLO &amp; &lt;WORLD>\n\n01:02:05.000 --> ")


def test_ctm_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.ctm").write_text(FORMATS["ctm"]("my file", RESULT))
    read = read_ctm(tmp_path / "a.ctm")["my_file"]
    assert [one.word for one in read] == RESULT.text.split()
    assert [one.start for one in read] == pytest.approx([one.start for one in RESULT.words], abs=0.006)


def test_trn() -> None:
    assert FORMATS["trn"]("a", RESULT) == "HELLO & <WORLD> GOOD NIGHT (a)\n"
    with pytest.raises(InputError, match="parenthesis"):
        FORMATS["trn"]("a(1)", RESULT)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_was_said(name: str) -> None:
    text = FORMATS[name]("a", Result("full", [], 1.0))
    assert "Segment" not in text
    assert text == "" or name in ("json", "vtt", "trn")


def test_cues_can_be_read() -> None:
    long = words("ABCDEFGHIJ " * 40, 0.0, 0.3) + words("LAST WORDS", 20.0)
    found = list(cues(long))
    assert [word for cue in found for word in cue] == long
    for cue in found:
        assert len(" ".join(word.text for word in cue)) <= CUE_LETTERS
        assert cue[-1].end - cue[0].start <= CUE_SECONDS
    assert [word.text for word in found[-1]] == ["LAST", "WORDS"]
    assert len(list(cues(words("X" * 200, 0.0)))) == 1
    assert re.fullmatch(r"\d", str(len(found)))
