"""Programs of tools/ start: what they import is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = [
    "tools/losses.py",
    "tools/bench/decoding.py",
    "tools/bench/exact_or_pruned.py",
    "tools/bench/hotwords.py",
    "tools/bench/long.py",
    "tools/bench/rare_words.py",
    "tools/bench/step.py",
    "tools/bench/training.py",
    "tools/bench/transducer.py",
    "tools/bench/word_times.py",
    "tools/gpu/decode.py",
    "tools/torture.py",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_sizes_of_papers() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/sizes.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "31.0" in done.stdout


def test_what_wants_a_gpu_runs_tiny_without_one(tmp_path: Path) -> None:
    command = [str(ROOT / "tools/gpu/run.sh"), str(tmp_path / "out folder"), "machine", "step", "decode", "machine"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert [line.split(" after")[0] for line in done.stdout.splitlines()] == [
        "== machine: exit 0",
        "== step: exit 0",
        "== decode: exit 0",
    ]
    assert "beam 4" in (tmp_path / "out folder/decode.log").read_text()
