from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.ctm import Word
from dualtk.errors import InputError
from dualtk.score.churn import read_partials
from dualtk.score.read import Emissions, read_emissions


def test_words_of_tokens() -> None:
    emissions = Emissions(("▁HE", "LLO", "▁", "▁A"), (0.5, 0.7, 0.8, 0.9), 1.0)
    assert emissions.words() == [Word("HELLO", 0.5, 0.7), Word("A", 0.9, 0.9)]
    assert Emissions(("LO", "▁A"), (0.5, 0.7), 1.0).words() == [Word("LO", 0.5, 0.5), Word("A", 0.7, 0.7)]
    assert Emissions((), (), 1.0).words() == []


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (read_emissions, "{\n", "file:1: not a line of tokens"),
        (read_emissions, '{"utt": "u", "tokens": []}\n', "file:1: .*emissions"),
        (read_emissions, '{"utt": "u", "tokens": ["a"], "emissions": [], "duration": 1}\n', "1 tokens but 0 emissions"),
        (read_emissions, '{"utt": "u", "tokens": ["a"], "emissions": [NaN], "duration": 1}\n', "NaN is not a number"),
        (read_partials, '{"utt": "u"}\n', "file:1: not a line of partial results"),
    ],
)
def test_faults_are_named(tmp_path: Path, reader, content: str, message: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(InputError, match=message):
        reader(tmp_path / "file")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: cannot be read: No such file"):
        read_emissions(tmp_path / "nothing")
