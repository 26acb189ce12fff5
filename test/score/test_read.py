from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.errors import InputError
from dualtk.score.read import Emissions, Word, read_ctm, read_emissions, read_text


def test_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a-1 HELLO  THERE \na-2\n\n")
    assert read_text(tmp_path / "text") == {"a-1": "HELLO  THERE", "a-2": ""}


def test_words_of_tokens() -> None:
    emissions = Emissions(("▁HE", "LLO", "▁", "▁A"), (0.5, 0.7, 0.8, 0.9), 1.0)
    assert emissions.words() == [Word("HELLO", 0.5, 0.7), Word("A", 0.9, 0.9)]
    assert Emissions(("LO", "▁A"), (0.5, 0.7), 1.0).words() == [Word("LO", 0.5, 0.5), Word("A", 0.7, 0.7)]
    assert Emissions((), (), 1.0).words() == []


def test_ctm_is_sorted_by_time(tmp_path: Path) -> None:
    (tmp_path / "ctm").write_text("u 1 1.0 0.5 B\nu 1 0.25 0.5 A\n")
    assert read_ctm(tmp_path / "ctm") == {"u": [Word("A", 0.25, 0.75), Word("B", 1.0, 1.5)]}


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_text, "a x\na y\n", "file:2: utterance a comes twice"),
        (read_ctm, "u 1 0.5\n", "file:1: expected"),
        (read_ctm, "u 1 zero 1 A\n", "file:1: expected"),
        (read_emissions, "{\n", "file:1: not a line of tokens"),
        (read_emissions, '{"utt": "u", "tokens": []}\n', "file:1: .*emissions"),
        (read_emissions, '{"utt": "u", "tokens": ["a"], "emissions": [], "duration": 1}\n', "1 tokens but 0 emissions"),
    ],
)
def test_faults_are_named(tmp_path: Path, reader, content: str, message: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(InputError, match=message):
        reader(tmp_path / "file")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: no such file"):
        read_text(tmp_path / "nothing")
