"""SHA-256 of every file of a folder, as `sha256sum -c SHA256SUMS` reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from dualtk.errors import InputError
from dualtk.files import read_blocks
from dualtk.tables import read_lines

FILE = "SHA256SUMS"


def file_digest(path: Path) -> str:
    """SHA-256 of what a file holds.

    Raises:
        InputError: it cannot be read.
    """
    total = hashlib.sha256()
    for block in read_blocks(path):
        total.update(block)
    return total.hexdigest()


def checksums(folder: Path) -> str:
    """The content of SHA256SUMS for all files below `folder`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    return "".join(f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)


def listed(folder: Path, source: str | None = None) -> dict[str, str]:
    """The files that the SHA256SUMS of a folder name, with their sums.

    Args:
        folder: that has one.
        source: for errors, where it came from; None: the folder.

    Raises:
        InputError: a line that is none, or one that names a file outside of the folder; no line.
    """
    found = {}
    for number, line in enumerate(read_lines(folder / FILE), start=1):
        expected, _, name = line.partition("  ")
        where = f"{source or folder}/{FILE}:{number}"
        if len(expected) != 64 or not name:
            raise InputError(f"{where}: expected a SHA-256 and a file name")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{where}: {name} is not in the folder")
        found[name] = expected
    if not found:
        raise InputError(f"{source or folder}/{FILE}: is empty")
    return found


def require_unaltered(folder: Path, source: str | None = None) -> None:
    """Compare the files of a folder with its SHA256SUMS, where it has one; `source` as in `listed`.

    Raises:
        InputError: a file that is missing, cut short or altered, by its name and both sums; a line that is none.
    """
    if not (folder / FILE).is_file():
        return
    for name, expected in listed(folder, source).items():
        if (found := file_digest(folder / name)) != expected:
            raise InputError(
                f"{source or folder}/{name}: altered or cut short: "
                f"its SHA-256 is {found[:16]}..., {FILE} says {expected[:16]}..."
            )
