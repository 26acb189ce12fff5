"""Files and folders that are whole or absent, that replace only what their own stage wrote, and `.done` keys."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.owner import is_dead, own_tag

PART = ".part"  # ends the names of what is being written
ASIDE = f".old{PART}"  # and of a folder while another takes its place
LONGEST_STEM = 100  # bytes of a name that its temporary one repeats; 255 is what file systems take


@dataclass(frozen=True)
class FolderKind:
    """Folders that a stage writes as a whole, and may replace.

    Attributes:
        name: for messages, such as "decoding folder".
        mark: a file that each of them holds.
        files: all that this stage and later ones leave there; anything else is the user's.
    """

    name: str
    mark: str
    files: frozenset[str]


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` for a file; it takes its name if the block succeeds, and vanishes if it fails.

    Args:
        path: absent, or a regular file.
        durable: on the disk before it takes its name, so that a machine that fails leaves the old or the new; False
            for many small files that are easily made again.

    Raises:
        InputError: `path` is something else, or cannot be written.
    """
    require_file(path)
    with _beside(path, durable) as temporary:
        yield temporary


@contextmanager
def atomic_folder(folder: Path, kind: FolderKind | None = None, *, durable: bool = True) -> Iterator[Path]:
    """The same for a folder, which the block makes.

    Args:
        folder: absent, empty, or of `kind`.
        kind: what may be replaced.
        durable: see `atomic_path`.

    Raises:
        InputError: see `require_replaceable`; or it cannot be written.
    """
    require_replaceable(folder, kind)
    with _beside(folder.resolve() if folder.is_symlink() else folder, durable) as temporary:
        yield temporary


def require_file(path: Path) -> None:
    """Refuse to write to `path` if something else than a regular file is there: a folder, a device, a link.

    Raises:
        InputError: names it.
    """
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
        raise InputError(f"{path}: exists and is {what}: choose another output")


def require_own(path: Path, beginning: str, what: str) -> None:
    """Refuse to write to `path` if a file is there that does not begin as those of a stage do, or is empty.

    Raises:
        InputError: names it; `what` is what the stage writes.
    """
    require_file(path)
    if path.exists() and (size := path.stat().st_size):
        with path.open("rb") as stream:
            if stream.read(len(beginning)) != beginning.encode():
                raise InputError(f"{path}: exists and is no {what} ({size} bytes): choose another output")


def require_replaceable(folder: Path, kind: FolderKind | None) -> None:
    """Refuse to replace what another stage, or somebody, wrote.

    Raises:
        InputError: `folder` exists, is not empty, and is not of `kind`; or it holds a file that no stage left there.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: exists and is no {kind.name if kind else 'folder'}")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if kind is None:
        raise InputError(f"{folder}: exists already and is not empty")
    if kind.mark not in names:
        raise InputError(f"{folder}: exists and is no {kind.name}")
    foreign = sorted(names - kind.files)
    if foreign:
        raise InputError(
            f"{folder}: is to be replaced, but {foreign[0]} in it was not written by dualtk: move that away first"
        )


@contextmanager
def _beside(path: Path, durable: bool) -> Iterator[Path]:
    """A temporary path that takes the place of `path`."""
    temporary = path.with_name(f"{_stem(path)}{own_tag()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path)
        yield temporary
        if durable:
            _sync(temporary)
        _take_place(temporary, path)
        if durable:
            _sync_entry(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def _stem(path: Path) -> str:
    """How the names of temporary paths of `path` begin."""
    return f".{path.name.encode()[:LONGEST_STEM].decode(errors='ignore')}."


def _take_place(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    aside = temporary.with_name(temporary.name.removesuffix(PART) + ASIDE)
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(aside, path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _tidy(path: Path) -> None:
    """Remove what processes of this machine that were killed left half-written beside `path`; a folder that one of them
    was about to replace comes back."""
    stem = _stem(path)
    for part in path.parent.glob(f"{glob.escape(stem)}*{PART}"):
        if not is_dead(part.name.removeprefix(stem).removesuffix(ASIDE).removesuffix(PART)):
            continue
        if part.name.endswith(ASIDE) and not path.exists():
            os.rename(part, path)
        else:
            _remove(part)


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove half-written files called `name` in `folder` itself, of any machine: for who alone writes them."""
    for part in folder.glob(f".{name}{PART}"):
        _remove(part)


def _sync(path: Path) -> None:
    """Have a file, or a folder with all in it, on the disk."""
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        _sync_entry(one)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system can do that with a folder
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all; see `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_blocks(path: Path) -> Iterator[bytes]:
    """What a file holds, piece by piece.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            yield from iter(lambda: stream.read(1 << 20), b"")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def digest(paths: Iterable[Path], options: object = None) -> str:
    """SHA-256 over the contents of the files `paths` and the JSON form of `options`."""
    return stream_digest(paths, [json.dumps(options, sort_keys=True, default=str)])


def stream_digest(paths: Iterable[Path], text: Iterable[str]) -> str:
    """`digest` of options whose JSON form comes piece by piece."""
    total = hashlib.sha256()
    for piece in text:
        total.update(piece.encode())
    for path in paths:
        total.update(path.name.encode() + b"\0")
        for block in read_blocks(path):
            total.update(block)
    return total.hexdigest()


class Done:
    """A `.done` file: the digest of what a finished stage was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def matches(self, key: str) -> bool:
        """Whether the stage finished with the inputs that `key` stands for."""
        return self.path.is_file() and self.path.read_text(encoding="utf-8").strip() == key

    def begin(self, title: str) -> None:
        """Forget the stage: what it made is about to change. The file stays, empty, as the mark of the folder's maker.

        Args:
            title: what the folder is, such as "data directory of prepare-librispeech".

        Raises:
            InputError: the folder holds files, and this stage did not make it.
        """
        folder = self.path.parent
        if os.path.lexists(folder) and not folder.is_dir():
            raise InputError(f"{folder}: exists and is no folder")
        if not self.path.exists() and folder.exists() and any(one.name[0] != "." for one in folder.iterdir()):
            raise InputError(f"{folder}: exists and is no {title}")
        write_text(self.path, "")

    def clear(self) -> None:
        """Forget the stage: what it made is about to change."""
        self.path.unlink(missing_ok=True)

    def write(self, key: str) -> None:
        """Record that the stage finished."""
        write_text(self.path, key + "\n")
