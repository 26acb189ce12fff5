"""Shards at a URL: each is fetched whole, once for all processes of a machine, compared with the sum that shards.json
has of it, and removed when room is needed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dualtk.checksums import file_digest
from dualtk.errors import InputError
from dualtk.extras import extra
from dualtk.files import atomic_path, digest
from dualtk.tables import read_json

FILE = "shards.json"  # in a directory whose utterances are in shards
CACHE = "cache"  # in that directory, unless its file says another folder
BLOCK = 8 << 20


@dataclass(frozen=True)
class Cache:
    """Where a data directory keeps what it fetched, how many bytes of it, and the SHA-256 of each URL."""

    folder: Path
    most: float
    sums: Mapping[str, str]


def is_url(place: str) -> bool:
    """Whether a place is none of the file system."""
    return "://" in place


def fetched(url: str, directory: Path) -> Path:
    """The file at a URL, in the folder that the data directory which names it keeps such files in.

    Raises:
        InputError: it cannot be fetched, or is not what shards.json says.
    """
    cache = _cache(directory)
    folder = cache.folder
    path = folder / f"{digest([], [url])[:8]}-{url.rpartition('/')[2]}"  # several sets may share the folder
    with suppress(OSError):
        os.utime(path)  # used now: others go first
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                copy(url, path, cache.sums.get(url))
                _make_room(folder, path, cache.most)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return path


def copy(url: str, path: Path, expected: str | None = None) -> None:
    """Fetch a file from a URL that fsspec opens, whole or not at all.

    Args:
        url: of the file.
        path: to write.
        expected: its SHA-256; None: any.

    Raises:
        InputError: it cannot be fetched, or has another sum; names the URL.
    """
    with extra("shards"):
        import fsspec
    try:
        with atomic_path(path, durable=False) as temporary:
            with fsspec.open(url, "rb") as stream, temporary.open("wb") as target:
                while block := stream.read(BLOCK):
                    target.write(block)
            if expected is not None and (found := file_digest(temporary)) != expected:
                raise InputError(f"{url}: altered, or damaged on its way: SHA-256 {found}, {FILE} has {expected}")
    except InputError:
        raise
    except Exception as error:  # each of fsspec's file systems has errors of its own
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{url}: cannot be fetched: {type(error).__name__} {line}".rstrip()) from error


@lru_cache(maxsize=16)
def _cache(directory: Path) -> Cache:
    facts: dict[str, Any] = read_json(directory / FILE)
    sums = {one["file"]: one["sha256"] for one in facts.get("shards", []) if "sha256" in one}
    return Cache(Path(facts.get("cache") or directory / CACHE), float(facts.get("cache_gb") or 100.0) * 1e9, sums)


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
