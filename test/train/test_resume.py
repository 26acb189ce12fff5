"""A run that was killed anywhere and continued ends in the same bytes as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import train_arguments

from dualtk.bin.train import main
from dualtk.data import columns
from dualtk.errors import InputError

pytestmark = pytest.mark.slow


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dualtk.bin.train", *arguments], stderr=subprocess.DEVNULL, start_new_session=True
    )


def steps(exp: Path) -> list[int]:
    lines = (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["step"] for line in map(json.loads, lines) if line["kind"] == "train"]


def test_killed_and_continued_equals_uninterrupted(corpus: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(train_arguments(corpus, whole)) == 0
    for wanted in (2, 6):  # killed in the middle of the first epoch and again after an evaluation
        process = start(train_arguments(corpus, broken))
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            path = broken / "checkpoints/last.pt"
            if path.exists() and torch.load(path, weights_only=True)["progress"]["step"] >= wanted:
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert main(train_arguments(corpus, broken)) == 0
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    states = [torch.load(exp / "checkpoints/last.pt", weights_only=True) for exp in (whole, broken)]
    assert states[0]["progress"] == states[1]["progress"]
    for key, value in states[0]["objective"].items():
        assert torch.equal(value, states[1]["objective"][key]), key
    assert steps(broken) == steps(whole) == list(range(1, 13))
    assert not list(broken.rglob("*.part"))


def test_accumulation_and_epoch_ends_resume_too(corpus: Path, tmp_path: Path) -> None:
    overrides = ["train.accumulate=2", "train.max_steps=10"]
    assert main(train_arguments(corpus, tmp_path / "whole", *overrides)) == 0
    first = ["train.accumulate=2", "train.max_steps=6"]
    assert main(train_arguments(corpus, tmp_path / "parts", *first)) == 0
    again = [*train_arguments(corpus, tmp_path / "parts", *overrides), "--override"]
    with_same_schedule = ["--set", "schedule={name: transformer, lr: 0.003, warmup_steps: 4}"]
    assert main([*train_arguments(corpus, tmp_path / "a", *overrides), *with_same_schedule]) == 0
    assert main([*train_arguments(corpus, tmp_path / "b", *first), *with_same_schedule]) == 0
    assert main([*train_arguments(corpus, tmp_path / "b", *overrides), *with_same_schedule, "--override"]) == 0
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert main(again) == 0


def test_another_configuration_is_refused_by_its_first_difference(corpus: Path, tmp_path: Path) -> None:
    exp = tmp_path / "exp"
    assert main(train_arguments(corpus, exp, "train.max_steps=2")) == 0
    with pytest.raises(InputError, match=r"model\.encoder\.dim: 16 -> 32"):
        main(train_arguments(corpus, exp, "train.max_steps=2", "model.encoder.dim=32"))
    with pytest.raises(InputError, match="made with another configuration"):
        main([*train_arguments(corpus, exp, "train.max_steps=2", "model.encoder.dim=32"), "--override"])


def test_hostile_or_damaged_checkpoints_are_refused(corpus: Path, tmp_path: Path) -> None:
    exp, victim = tmp_path / "exp", tmp_path / "victim"
    assert main(train_arguments(corpus, exp, "train.max_steps=2")) == 0

    class Touch:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (victim,)

    last = exp / "checkpoints/last.pt"
    torch.save({"objective": Touch()}, last)
    with pytest.raises(InputError, match=r"last\.pt: not a training checkpoint"):
        main(train_arguments(corpus, exp, "train.max_steps=2"))
    assert not victim.exists()
    last.write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"last\.pt: not a training checkpoint"):
        main(train_arguments(corpus, exp, "train.max_steps=2"))


def test_a_set_that_is_kept_as_columns_trains_to_the_same_bytes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large ones are."""
    monkeypatch.setattr(columns, "LARGE", 0)
    assert main(train_arguments(corpus, tmp_path / "columns", "batches.cache=false", "batches.num_workers=1")) == 0
    assert len(list((tmp_path / "columns/lists").iterdir())) == 2
    monkeypatch.undo()
    assert main(train_arguments(corpus, tmp_path / "objects")) == 0
    one, other = (tmp_path / name / "model.safetensors" for name in ("columns", "objects"))
    assert one.read_bytes() == other.read_bytes()
