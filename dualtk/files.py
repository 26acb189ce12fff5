"""Files that are either whole or absent, and stages that know whether their inputs changed."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dualtk.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes `path`'s name if the block succeeds and vanishes if it fails.

    The block may create a file or a folder there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_orphans(path: Path) -> None:
    """Remove what processes that were killed left half-written beside `path`."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        owner = part.name.split(".")[-2]
        if owner.isdigit() and not Path("/proc", owner).exists() and Path("/proc/self").exists():
            _remove(part)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def digest(paths: Iterable[Path], options: object = None) -> str:
    """SHA-256 over the contents of the files `paths` and the JSON form of `options`."""
    total = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for path in paths:
        total.update(path.name.encode() + b"\0")
        try:
            with path.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    total.update(block)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return total.hexdigest()


class Done:
    """A `.done` file: the digest of what a finished stage was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def matches(self, key: str) -> bool:
        """Whether the stage finished with the inputs that `key` stands for."""
        return self.path.is_file() and self.path.read_text(encoding="utf-8").strip() == key

    def clear(self) -> None:
        """Forget the stage: what it made is about to change."""
        self.path.unlink(missing_ok=True)

    def write(self, key: str) -> None:
        """Record that the stage finished."""
        write_text(self.path, key + "\n")
