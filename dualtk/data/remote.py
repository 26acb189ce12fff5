"""Shards at a URL: each is fetched whole, once for all processes of a machine, and removed when room is needed."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat

from dualtk.checksums import file_digest
from dualtk.errors import InputError
from dualtk.extras import extra
from dualtk.files import atomic_path
from dualtk.tables import parse_json, read_json

FILE = "shards.json"  # in a directory whose utterances are in shards
CACHE = "cache"  # in that directory, unless its file says another folder
BLOCK = 8 << 20


class ShardFacts(BaseModel):
    """What shards.json says of a tar: place, SHA-256, and in a mixture number and weight of its directory."""

    file: str
    sha256: str
    corpus: int = 0
    weight: PositiveFloat = 1.0


class SetFacts(BaseModel):
    """What shards.json says: `cache` and `cache_gb` where tars are at a URL."""

    model_config = ConfigDict(allow_inf_nan=False)

    source: Literal["audio", "stored"]
    shards: list[ShardFacts]
    cache: str | None = None
    cache_gb: PositiveFloat | None = None


def read_facts(directory: Path) -> SetFacts:
    """The shards.json of a directory.

    Raises:
        InputError: it cannot be read, or a value is not what it should be.
    """
    return SetFacts.model_validate(read_json(directory / FILE, SetFacts))


def fetch_facts(url: str) -> SetFacts:
    """The shards.json of a folder at a URL; raises as `read_facts`."""
    place = f"{url}/{FILE}"
    return SetFacts.model_validate(parse_json(read_text(place), place, SetFacts))


def is_url(place: str) -> bool:
    """Whether a place is none of the file system."""
    return "://" in place


def place_of(url: str, directory: Path) -> Path:
    """Where the data directory that names the file at a URL keeps it while it is there.

    Raises:
        InputError: shards.json cannot be read, or does not list it.
    """
    folder, _, sums = _cache(directory)
    if url not in sums:
        raise InputError(f"{directory / FILE}: does not list {url}")
    return folder / f"{sums[url][:12]}-{url.rpartition('/')[2]}"  # another tar of this name is another file


def fetched(url: str, directory: Path) -> Path:
    """The file at a URL, in the folder that the data directory which names it keeps such files in.

    It may go again when another is fetched.

    Raises:
        InputError: it cannot be fetched, or is not what shards.json says.
    """
    folder, most, sums = _cache(directory)
    path = place_of(url, directory)
    with suppress(OSError):
        os.utime(path)  # used now: others go first
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                copy(url, path, sums[url])
                _make_room(folder, path, most)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return path


def copy(url: str, path: Path, expected: str | None = None) -> None:
    """Fetch a file from a URL that fsspec opens, whole or not at all; `expected` is its SHA-256, where that is known.

    Raises:
        InputError: it cannot be fetched, or is another; names the URL.
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
            target.flush()
            if expected is not None and (found := file_digest(temporary)) != expected:
                raise InputError(
                    f"{url}: altered or cut short: its SHA-256 is {found[:16]}..., {FILE} says {expected[:16]}..."
                )
    except InputError:
        raise
    except Exception as error:  # each of fsspec's file systems has errors of its own
        line = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{url}: cannot be fetched: {type(error).__name__} {line}".rstrip()) from error


def _cache(directory: Path) -> tuple[Path, float, dict[str, str]]:
    """Where a data directory keeps what it fetched, how many bytes of it, and the SHA-256 of each file."""
    stamp = 0
    with suppress(OSError):
        stamp = (directory / FILE).stat().st_mtime_ns
    return _read_cache(Path(os.path.abspath(directory)), stamp)


@lru_cache(maxsize=16)
def _read_cache(directory: Path, stamp: int) -> tuple[Path, float, dict[str, str]]:
    """The same as it was at `stamp`."""
    facts = read_facts(directory)
    sums = {one.file: one.sha256 for one in facts.shards}
    return Path(facts.cache or directory / CACHE), (facts.cache_gb or 100.0) * 1e9, sums


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
