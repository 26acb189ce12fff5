"""Several processes under one command: they end together, and say themselves what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
import os, signal, sys, time
def stop(number, frame):
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
rank, case = os.environ["RANK"], sys.argv[1]
if case == "fails" and rank == "1":
    print("dualtk: error: as a process says it", file=sys.stderr)
    sys.exit(2)
if case == "killed" and rank == "1":
    os.kill(os.getpid(), 9)
if case == "signalled" and rank == "0":
    os.kill(os.getppid(), signal.SIGUSR1)
if case != "ends":
    time.sleep(100)
"""
LAUNCHER = """
import sys
from dualtk.train.launch import Agents, launch
for case in ("ends", "fails", "killed", "signalled"):
    print(case, launch(Agents(2), "worker", [case]), flush=True)
"""


@pytest.mark.slow
def test_processes_end_together_with_one_line(tmp_path: Path) -> None:
    """That of the process at fault, or of its end; a signal to the command goes to all."""
    (tmp_path / "worker.py").write_text(WORKER)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])
    environment = {**os.environ, "PYTHONPATH": paths}
    call = [sys.executable, "-c", LAUNCHER]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)
    assert done.stdout.split("\n") == ["ends 0", "fails 2", "killed 1", "signalled 138", ""], done.stderr
    assert done.stderr.splitlines() == [
        "dualtk: error: as a process says it",
        "dualtk: error: process 1 of the training was ended by SIGKILL",
    ]
