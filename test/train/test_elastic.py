"""A run that goes on with another number of processes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from tiny import train_arguments
from two_processes import WORKER, torchrun

from dualtk.data.kaldi import list_utterances

pytestmark = pytest.mark.slow


def test_no_utterance_is_left_out_or_repeated(corpus: Path, tmp_path: Path) -> None:
    """Three processes, then two, then one; steps that are counted in epochs are those of the beginning."""
    (tmp_path / "worker.py").write_text(WORKER)
    arguments = train_arguments(corpus, tmp_path / "exp", "train.max_steps=4 epochs", "batches.max_frames=120")
    steps = {}
    for processes, last, status in ((3, 3, 1), (2, 7, 1), (1, 0, 0)):
        call = (str(tmp_path / "worker.py"), str(tmp_path / f"taken{processes}"), str(last), *arguments)
        torchrun(*call, processes=processes, status=status, may_warn=True)
        log = (tmp_path / "exp/train.log").read_text()
        steps[processes] = log.count(": full/rnnt")
    counts = Counter(line for path in tmp_path.glob("taken*") for line in path.read_text().splitlines())
    names = list(list_utterances(corpus / "train").entries)
    whole = max(int(line.split()[0]) for line in counts)
    assert whole >= 2
    assert {counts[f"{epoch} {name}"] for epoch in range(whole) for name in names} == {1}
    assert max(counts.values()) == 1
    assert "epoch 0 was begun by 3 processes: a step now holds 2 batches, not 3; no utterance" in log
    assert "a step now holds 1 batches, not" in log
    assert json.loads((tmp_path / "exp/versions.json").read_text())["processes"] == 3
