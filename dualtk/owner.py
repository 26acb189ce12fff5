"""Processes that own what they write: who wrote a file, on storage that machines share, and who ends with whom."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PR_SET_PDEATHSIG = 1  # of prctl(2)


def host() -> str:
    """The name of this machine, as a part of a file name."""
    return socket.gethostname().replace("/", "_")


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when the one that started it ends, however it does (Linux alone)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))


def own_tag() -> str:
    """This process as `host-namespace-process-start`: the last is in clock ticks since the machine began.

    Numbers of processes are given again, so the start belongs to them; and each container counts its own, so the
    namespace does. Both are 0 where there is no /proc.
    """
    return f"{host()}-{_namespace()}-{os.getpid()}-{_start(os.getpid()) or 0}"


def is_dead(tag: str) -> bool:
    """Whether the process of `tag` is surely gone. Of another machine or container nobody here can say, so: False."""
    machine, namespace, process, start = [*tag.rsplit("-", 3), "", "", ""][:4]
    if (machine, namespace) != (host(), _namespace()) or not process.isdigit():
        return False
    if PROC.joinpath("self").exists():
        return str(_start(int(process))) != start
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _namespace() -> str:
    """Number of the space in which processes are counted."""
    try:
        return os.readlink(PROC / "self/ns/pid").strip("pid:[]")
    except OSError:
        return "0"


def _start(process: int) -> int | None:
    """When a living process began; None for one that is gone, or dead and only not yet waited for."""
    try:
        fields = (PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
