"""Shards are read whole, from beginning to end, though their parts are asked for in another order."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

NEAR = 64  # shards that a process has asked for most lately


@lru_cache(maxsize=NEAR)
def read_ahead(path: Path) -> None:
    """Have the system read a file into its cache, if it is a tar: one pass serves all processes of a machine."""
    if path.suffix != ".tar" or not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):  # what is wrong with the file its reader says
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
