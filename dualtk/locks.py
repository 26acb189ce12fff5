"""One run at a time where two would write the same files.

The lock is flock's on a small file that says who holds it. The kernel gives it back when a process ends in any way, on
NFS (since Linux 2.6.12) and other shared storage through its server. Where storage keeps such locks on each machine
alone, or has none, the file itself must do: its holder touches it every few seconds, and a run on another machine
waits for that before it takes the lock over. Limit: there, two runs that begin within a second can miss each other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.owner import host, is_dead, own_tag

logger = logging.getLogger("dualtk")

NAME = ".lock"  # in the folder that is locked
BEAT = 5.0  # seconds between two signs of life
PATIENCE = 4 * BEAT

_held: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the machine, the process, since when, what it runs, and its tag (see `dualtk.owner`)."""

    host: str
    process: int
    since: str
    command: str
    tag: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since} ({self.command})"


@contextmanager
def locked(path: Path, what: Path) -> Iterator[None]:
    """Hold the lock file `path`; it is gone again when the block ends.

    Args:
        path: made where it is absent, with its folder; that goes too if nothing else has come into it.
        what: for messages, the output that is locked.

    Raises:
        InputError: another run holds it; says who and since when.
    """
    made = [folder for folder in [path.parent, *path.parent.parents] if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _take(path, what)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    ended = threading.Event()
    _held.add(descriptor)
    threading.Thread(target=_beat, args=(descriptor, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            path.unlink(missing_ok=True)
        _held.discard(descriptor)
        os.close(descriptor)
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _let_go() -> None:
    """In a child: it would keep the lock beyond the end of its parent."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _take(path: Path, what: Path) -> int:
    """A descriptor that holds the lock, with our name in the file."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            kernel = _flock(descriptor)
            holder = _read(descriptor)
            if kernel is False or (kernel is None and holder is not None and _is_here(holder) and not _gone(holder)):
                raise InputError(f"{what}: another run is at work there: {holder or 'it has just begun'}")
            if holder is not None:
                _take_over(path, what, holder)
            # Who held it before may have removed the file that we opened.
            if not _is_still(path, descriptor):
                os.close(descriptor)
                continue
            _write(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _flock(descriptor: int) -> bool | None:
    """Whether the kernel gives the lock; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _take_over(path: Path, what: Path, holder: Holder) -> None:
    """Say that the last run ended without a word; of another machine, make sure that it did."""
    if not _is_here(holder):
        logger.warning("%s: was locked by %s, another machine: waiting for a sign of life", what, holder)
        before, until = path.stat().st_mtime_ns, time.monotonic() + PATIENCE
        while time.monotonic() < until:
            time.sleep(BEAT / 5)
            os.close(os.open(path, os.O_RDONLY))  # NFS asks its server anew when a file is opened
            if path.stat().st_mtime_ns != before:
                raise InputError(f"{what}: another run is at work there: {holder}")
    logger.warning("%s: the last run there was killed: %s; going on", what, holder)


def _is_here(holder: Holder) -> bool:
    return holder.host == host()


def _gone(holder: Holder) -> bool:
    return is_dead(holder.tag)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> Holder | None:
    """Who the file names, if anybody."""
    try:
        return Holder(**json.loads(os.pread(descriptor, 1 << 16, 0)))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int) -> None:
    command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])[:200]
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = Holder(host(), os.getpid(), now, command, own_tag())
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
    os.fsync(descriptor)


def _beat(descriptor: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(descriptor)
