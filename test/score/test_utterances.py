from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.errors import InputError
from dualtk.score.latency import UtteranceLatency
from dualtk.score.utterances import read_utterances, utterance_table
from dualtk.score.wer import score_all


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    refs, hyps = {"s-1": "It's a dog", "s-2": "no", "s-3": ""}, {"s-1": 'its "a dog', "s-2": "", "s-3": "x"}
    scored = score_all(refs, hyps, dict.fromkeys(refs, "s"))
    delays = [UtteranceLatency("s-1", -0.1234, 0.2, True, ())]
    (tmp_path / "t.tsv").write_text(utterance_table(scored, delays))
    lines = read_utterances(tmp_path / "t.tsv")
    assert [line.scored for line in lines] == scored
    assert [line.latency for line in lines] == [-0.1234, None, None]


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(InputError, match="is not a table of this dualtk; run `dualtk score` again"):
        read_utterances(tmp_path / "t.tsv")
    with pytest.raises(InputError, match="none"):
        read_utterances(tmp_path / "none")
