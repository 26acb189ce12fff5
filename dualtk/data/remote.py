"""Shards at a URL: each is fetched whole, once for all processes of a machine, and removed when room is needed."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from dualtk.errors import InputError
from dualtk.extras import extra
from dualtk.files import atomic_path
from dualtk.tables import read_json

FILE = "shards.json"  # in a directory whose utterances are in shards
CACHE = "cache"  # in that directory, unless its file says another folder
BLOCK = 8 << 20


def is_url(place: str) -> bool:
    """Whether a place is none of the file system."""
    return "://" in place


def fetched(url: str, directory: Path) -> Path:
    """The file at a URL, in the folder that the data directory which names it keeps such files in.

    Raises:
        InputError: it cannot be fetched.
    """
    folder, most = _cache(directory)
    path = folder / url.rpartition("/")[2]
    with suppress(OSError):
        os.utime(path)  # used now: others go first
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                copy(url, path)
                _make_room(folder, path, most)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return path


def copy(url: str, path: Path) -> None:
    """Fetch a file from a URL that fsspec opens, whole or not at all.

    Raises:
        InputError: it cannot be fetched; names the URL.
    """
    with extra("shards"):
        import fsspec
    try:
        with (
            fsspec.open(url, "rb") as stream,
            atomic_path(path, durable=False) as temporary,
            temporary.open("wb") as target,
        ):
            while block := stream.read(BLOCK):
                target.write(block)
    except InputError:
        raise
    except Exception as error:  # each of fsspec's file systems has errors of its own
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{url}: cannot be fetched: {type(error).__name__} {line}".rstrip()) from error


@lru_cache(maxsize=16)
def _cache(directory: Path) -> tuple[Path, float]:
    """Where a data directory keeps what it fetched, and how many bytes of it."""
    facts: dict[str, Any] = read_json(directory / FILE)
    return Path(facts.get("cache") or directory / CACHE), float(facts.get("cache_gb") or 100.0) * 1e9


def _make_room(folder: Path, kept: Path, most: float) -> None:
    """Remove the files whose use lies back furthest until there are at most so many bytes."""
    files = []
    for path in folder.glob("*.tar"):
        with suppress(OSError):  # another process was there first
            found = path.stat()
            files.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        if path != kept:
            path.unlink(missing_ok=True)
            total -= size


def read_text(url: str) -> str:
    """A small text file at a URL.

    Raises:
        InputError: it cannot be fetched.
    """
    with extra("shards"):
        import fsspec
    try:
        with fsspec.open(url, "rb") as stream:
            return str(stream.read().decode("utf-8"))
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{url}: cannot be fetched: {type(error).__name__} {line}".rstrip()) from error
