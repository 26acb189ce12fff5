"""Jobs on several processes: they all run, they fail as one, and they die with their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys, time
from pathlib import Path
from dualtk.data.processes import run_jobs

def job(number):
    Path(sys.argv[1], f"{number}.{os.getpid()}").touch()
    if number == 0:
        time.sleep(600)
    yield 1

if __name__ == "__main__":
    run_jobs(job, [0, 1], 2, 2, progress=False)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see other processes")
def test_workers_end_with_their_parent(tmp_path):
    """One worker is busy and one is idle when the parent is killed."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "started").mkdir()
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path / "started")])
    while len(started := list((tmp_path / "started").iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    workers = {int(path.suffix[1:]) for path in started}
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
