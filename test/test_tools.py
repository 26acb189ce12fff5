"""Programs of tools/ start: what they import is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ["tools/losses.py", "tools/bench/decoding.py", "tools/bench/training.py", "tools/bench/transducer.py"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program: str) -> None:
    done = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_sizes_of_papers() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/sizes.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "31.0" in done.stdout
