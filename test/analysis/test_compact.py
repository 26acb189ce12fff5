"""The table of extracted networks."""

from __future__ import annotations

import re
from pathlib import Path

from dualtk.analysis.compact import compact_section
from dualtk.analysis.experiment import Decoded, Experiment
from dualtk.score.summary import SetScore

FACTS = {"mode": "streaming", "pattern": "2:4", "trained": True, "int8": True, "sparsity": 0.5, "speed": {"int8": 0.01}}
FACTS |= {"kept_parameters": 500_000, "parameters": 1_000_000, "size": 2_150_000, "full_size": 4_000_000}


def experiment(name: str, extracted: bool, **rates: float) -> Experiment:
    scores = {
        key: {"wer": {"rate": {"value": rate, "low": rate, "high": rate}}, "decoding": {"mode": "streaming"}}
        for key, rate in rates.items()
    }
    decoded = [Decoded(SetScore(Path(key), key, "streaming", score), []) for key, score in scores.items()]
    return Experiment(name, {}, [], decoded, [], FACTS if extracted else None)


def cells(row: str) -> list[str]:
    return re.findall(r"<span>([^<]*)</span>", row)


def test_each_scored_set_has_a_column_of_word_errors() -> None:
    first = experiment("first", True, **{"test": 0.1234, "test-int8": 0.1301})
    page = compact_section([experiment("whole", False, train=0.5), first, experiment("second", True, test=0.2)])
    assert re.findall(r"<button[^>]*>(WER[^<]*)</button>", page) == ["WER test %", "WER test-int8 %"]
    rows = [cells(row) for row in re.findall(r"<tr>.*?</tr>", page.partition("<tbody>")[2], re.DOTALL)]
    assert [row[0] for row in rows] == ["first", "second"]
    assert [row[-2:] for row in rows] == [["12.34", "13.01"], ["20.00", "-"]]


def test_without_extracted_networks_there_is_no_table() -> None:
    assert compact_section([experiment("whole", False, test=0.5)]) == ""
