"""What the tests of the recipes share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Run:
    """Run a program of the repository from an empty folder, as a user with the environment on PATH would."""

    def run(program: str, *arguments: object, folder: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable] if program.endswith(".py") else []
        command += [str(ROOT / program), *map(str, arguments)]
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its bytes, markers of finished work aside."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
