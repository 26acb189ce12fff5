from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.analysis.curves import (
    compare_runs,
    loss_curves,
    loss_keys,
    read_metrics,
    series,
    teacher_error,
    training_pictures,
)
from dualtk.errors import InputError

LINES = [
    {"step": 1, "kind": "train", "full/rnnt": 4.0, "streaming/rnnt": 6.0, "loss": 5.0, "learning_rate": 0.1},
    {"step": 2, "kind": "train", "full/rnnt": 2.0, "streaming/rnnt": 3.0, "loss": 2.5, "learning_rate": 0.2},
    {"step": 2, "kind": "valid", "full/rnnt": 3.0, "streaming/rnnt": 4.0, "loss": 3.5, "student/gap": 0.5},
]


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"step": 1, "kind": "train", "loss": 1}\n{"step": 2, "ki')
    assert read_metrics(tmp_path / "m") == [{"step": 1, "kind": "train", "loss": 1}]
    with pytest.raises(InputError, match="none"):
        read_metrics(tmp_path / "none")


def test_series_and_keys() -> None:
    assert series(LINES, "train", "loss") == ([1, 2], [5.0, 2.5])
    assert series(LINES, "valid", "learning_rate") == ([], [])
    assert loss_keys(LINES) == ["full/rnnt", "streaming/rnnt", "student/gap", "loss"]


def test_curves_hold_every_point() -> None:
    rows = loss_curves(LINES).table.rows
    assert ["train", "full/rnnt", 1, 4.0] in rows
    assert ["valid", "student/gap", 2, 0.5] in rows
    assert len(rows) == 3 * 3 + 1
    assert [picture.name for picture in training_pictures(LINES, "run")] == ["run-loss", "run-learning-rate"]
    assert compare_runs({"a": LINES, "b": LINES[:2]}).table.rows == [["a", 2, 3.5]]


def test_a_loss_that_is_not_positive_is_drawn_all_the_same() -> None:
    assert loss_curves([{"step": 1, "kind": "train", "loss": -1.0}]).svg()


def test_teacher_error_comes_from_training_where_it_was_trained_on() -> None:
    trained = [{"step": 5, "kind": "train", "student/gap": 0.25}, {"step": 5, "kind": "valid", "student/gap": 0.3}]
    rows = teacher_error({"without": LINES, "with": trained}, "gap").table.rows
    assert rows == [["without", "student/gap", "valid", 2, 0.5], ["with", "student/gap", "train", 5, 0.25]]
