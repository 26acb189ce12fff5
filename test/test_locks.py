"""One run at a time: real processes hold the lock, end, and are killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dualtk import locks
from dualtk.errors import InputError
from dualtk.locks import locked
from dualtk.owner import host

HOLD = """
import sys, time
from pathlib import Path
from dualtk.locks import locked
with locked(Path(sys.argv[1]), Path("exp")):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_second_run_is_refused_by_name_and_a_killed_one_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "exp/.lock"
    with holder(path) as process:
        line = rf"^exp: another run is at work there: process {process.pid} on {host()} since 20\d\d-.* \(-c .*\)$"
        with pytest.raises(InputError, match=line), locked(path, Path("exp")):
            raise AssertionError
        assert path.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists()
    with caplog.at_level(logging.WARNING), locked(path, Path("exp")):
        assert f"exp: the last run there was killed: process {process.pid} on {host()}" in caplog.text
    assert not path.exists()


def test_the_lock_goes_with_the_block_and_with_the_folder_that_it_made(tmp_path: Path) -> None:
    with locked(tmp_path / "a/b/.lock", Path("b")):
        with pytest.raises(InputError, match="another run"), locked(tmp_path / "a/b/.lock", Path("b")):
            raise AssertionError
        assert json.loads((tmp_path / "a/b/.lock").read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "a/b/.lock", Path("b")):
        (tmp_path / "a/b/kept").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["kept"]


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A process that reads features may outlive the one that trains by a moment."""
    path, (read, write) = tmp_path / ".lock", os.pipe()
    with locked(path, Path("exp")):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent closes its end
            os._exit(0)
    with locked(path, Path("exp")):
        pass
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("lives", [True, False])
def test_on_storage_without_locks_the_file_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lives: bool
) -> None:
    """Here by the number of the process; of another machine by what it touches."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "BEAT", 0.2)
    monkeypatch.setattr(locks, "PATIENCE", 1.0)
    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    path = tmp_path / ".lock"
    with holder(path) as process:
        if not lives:
            process.kill()
            process.wait()
        refused = pytest.raises(InputError, match=f"process {process.pid}") if lives else locked(path, Path("exp"))
        with refused:
            if lives:
                with locked(path, Path("exp")):
                    raise AssertionError

    facts = {"host": "elsewhere", "process": 7, "since": "2026-01-01 00:00:00", "command": "train", "tag": "x"}
    path.write_text(json.dumps(facts))
    beats = subprocess.Popen(["sh", "-c", f"while sleep 0.1; do touch {path}; done"]) if lives else None
    try:
        if lives:
            with pytest.raises(InputError, match="process 7 on elsewhere since 2026"), locked(path, Path("exp")):
                raise AssertionError
        else:
            with locked(path, Path("exp")):
                assert "locked by process 7 on elsewhere" in caplog.text
                assert "was killed: process 7 on elsewhere" in caplog.text
    finally:
        if beats is not None:
            beats.kill()
            beats.wait()
