"""A checkout in which everything is small, and the pages that have been typed there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from documents import Block, blocks, read

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dualtk", "egs", "utils", "examples", "tools", "docs", "Makefile", "setup.py", "pyproject.toml", "README.md")
MADE = ("exp", "corpus", "data", "features", "tokens", "downloads", "__pycache__", "*.egg-info")
DIGITS = "https://github.com/Jakobovski/free-spoken-digit-dataset"
# Enough of them that a network says nothing at all, which 8 bits do not change; one that says anything may differ.
STEPS = {"max_steps": 60, "validate_every": 30, "save_every": 30, "log_every": 30, "average_best": 1}
FAST = {"warmup_steps": 1, "lr": 0.01}
SMALL: dict[str, Any] = {
    "model": {
        "encoder": {"dim": 16, "num_heads": 2, "feedforward_dim": 24, "kernel": 5},
        "predictor": {"dim": 16},
        "joiner": {"joiner_dim": 16},
    },
    "sampled_steps": 30,
    "schedule": FAST,
    "train": STEPS,
    "blocks": {"finetuning": {"schedule": FAST, "train": STEPS}},
}
# What a page's commands become in a test: packages are only resolved, a repository comes from this machine, and a
# server ends once it has answered.
SHELL = """set -euo pipefail
pip() { python -m pip --disable-pip-version-check "$@" --dry-run --no-index --no-build-isolation --quiet; }
git() { command git -c "url.file://$RECORDINGS.insteadOf=$DIGITS" "$@"; }
dualtk() { if [ "$1" = serve ]; then serve "${@:2}"; else command dualtk "$@"; fi; }
serve() {
  command dualtk serve "$@" --port "$PORT" &
  python "$ANSWERS" "$PORT"
  kill -TERM $! && wait $!
}
"""
ANSWERS = """import ssl, sys, time, urllib.request
context = ssl._create_unverified_context()
for _ in range(600):
    for scheme in ("http", "https"):
        try:
            urllib.request.urlopen(f"{scheme}://127.0.0.1:{sys.argv[1]}/healthz", timeout=5, context=context)
            sys.exit()
        except OSError:
            time.sleep(0.25)
sys.exit("the server does not answer")
"""
Type = Callable[[list[Block]], subprocess.CompletedProcess[str]]


def _laid_over(tree: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """`tree` with the values of `other`, where it has their sections."""
    return {
        key: _laid_over(value, other[key]) if isinstance(value, dict) and key in other else other.get(key, value)
        for key, value in tree.items()
    } | {key: value for key, value in other.items() if key not in tree and not isinstance(value, dict)}


def _make_small(folder: Path) -> None:
    """The recipes train for a few steps on a minute of speech."""
    for path in folder.glob("egs/*/asr1/conf/cpu.yaml"):
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(_laid_over(tree, SMALL)), encoding="utf-8")
    script = folder / "egs/synthetic/asr1/run.sh"
    text = script.read_text(encoding="utf-8")
    for name, value in {"nj": "1", "hours": "0.02", "dev": "4", "test": "4"}.items():
        text, count = re.subn(rf"^{name}=[\d.]+", f"{name}={value}", text, flags=re.M)
        assert count == 1
    script.write_text(text, encoding="utf-8")


def _environment(folder: Path) -> None:
    """`.venv`, as `make .venv` leaves it: that of the tests under another name."""
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name not in (".installed", ".installed-dev"):
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv/.installed").touch()


def _recordings(folder: Path) -> Path:
    """A repository of recordings under the names of the spoken digits: noise, a take of each."""
    generator = np.random.default_rng(0)
    (folder / "recordings").mkdir(parents=True)
    for name in (f"{digit}_{one}_0" for digit in range(10) for one in ("jackson", "ann", "bob", "cid", "dora")):
        samples = 0.1 * generator.standard_normal(4000)
        soundfile.write(folder / "recordings" / f"{name}.wav", samples, 8000)
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "digits"]):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="session")
def type_in(tmp_path_factory: pytest.TempPathFactory) -> Type:
    """Type blocks of commands and of Python into one shell, at the top of a small checkout that stays."""
    folder = tmp_path_factory.mktemp("typed") / "dualtk"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*MADE))
        else:
            shutil.copy2(ROOT / name, folder / name)
    _make_small(folder)
    _environment(folder)
    for name in ("setup.py", "utils/install_torch.sh"):
        os.utime(folder / name, (0, 0))  # make installs again what is older than these
    (folder.parent / "answers.py").write_text(ANSWERS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "RECORDINGS": str(_recordings(folder.parent / "recordings")),
        "DIGITS": DIGITS,
        "ANSWERS": str(folder.parent / "answers.py"),
        "PORT": str(port),
    }

    def run(these: list[Block]) -> subprocess.CompletedProcess[str]:
        script = SHELL
        for one in these:
            script += one.text if one.is_shell else f"python - <<'END'\n{one.text}END\n"
        command = ["bash", "-c", script]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="session")
def tutorial(type_in: Type) -> subprocess.CompletedProcess[str]:
    """The tutorial, typed from its first command to its last; other pages go on with what it leaves."""
    return type_in([block for block in blocks(read(ROOT / "docs/tutorial.md")) if block.runs])
