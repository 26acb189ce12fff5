"""What a stage was made from, told by what its files hold and not by their names, and what of it has changed since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dualtk.checksums import file_digest
from dualtk.data.arks import find_archive
from dualtk.data.remote import FILE as SHARDS
from dualtk.data.storage import Source
from dualtk.errors import InputError
from dualtk.files import Done, digest, stream_digest, write_text
from dualtk.tables import each_entry, read_json

FILE = ".digests.json"  # in a folder that a stage writes
PACKAGE = Path(__file__).resolve().parents[1]


class Digests:
    """SHA-256 of files. One that was seen before is read again only if its size, a time or its inode is another.

    The time of the last change of the inode is among them: tools that put back a file's date cannot put that back.

    Args:
        keep: remembers them from one run to the next.
        others: more files of this kind to know digests from.
    """

    def __init__(self, keep: Path, *others: Path) -> None:
        self.keep = keep
        self._known = {state: value for path in (*others, keep) for state, value in _read(path).items()}
        self._seen: dict[str, str] = {}

    def of(self, path: Path) -> str:
        """The digest of a file.

        Raises:
            InputError: it cannot be read.
        """
        state = file_state(path)
        value = self._known.get(state)
        if value is None:
            value = self._known[state] = file_digest(path)
        self._seen[state] = value
        return value

    def of_all(self, paths: Iterable[Path], num_threads: int) -> dict[Path, str]:
        """The digest of each file; see `of`."""
        distinct = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(num_threads) as pool:
            return dict(zip(distinct, pool.map(self.of, distinct)))

    def learn(self, path: Path, value: str) -> None:
        """Know the digest of a file that was just written."""
        state = file_state(path)
        self._known[state] = self._seen[state] = value

    def save(self) -> None:
        """Remember the digests that were asked for or learnt, if that file can be written."""
        before = _read(self.keep)
        if not self._seen.items() <= before.items():
            with suppress(InputError):  # in a folder of someone else they are worked out again
                write_text(self.keep, json.dumps(before | self._seen) + "\n")


def _read(path: Path) -> dict[str, str]:
    """What was remembered; nothing where there is no such file or it is damaged: then files are read again."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    valid = isinstance(entries, dict) and all(isinstance(value, str) for value in entries.values())
    return entries if valid else {}


def file_state(path: Path) -> str:
    """What changes with a file: its size, times and inode.

    Raises:
        InputError: it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"


def features_digest(directory: Path, digests: Digests, source: Source = "stored") -> str:
    """What the features of a data directory are, wherever it lies: names, frames, and the bytes of its archives.

    Of audio that was not read through these are names, frames and durations; of shards, what their list says.

    Raises:
        InputError: a faulty table, or an archive that is not there.
    """
    if (directory / SHARDS).exists():
        held = [one["sha256"] for one in read_json(directory / SHARDS)["shards"]]
        return digest([directory / "utt2num_frames"], held)
    if source == "audio":
        tables = [directory / name for name in ("utt2num_frames", "utt2dur") if (directory / name).exists()]
        return digest(tables, source)
    numbers: dict[Path, int] = {}
    found: dict[str, int] = {}  # an archive as it is written; there are few

    def places() -> Iterator[str]:
        """`[[[name, archive, place], ...], [digest, ...]]`, never whole in memory."""
        yield "[["
        for index, (name, location) in enumerate(each_entry(directory / "feats.scp")):
            file = location.partition("[")[0].rpartition(":")[0] or location
            if file not in found:
                try:
                    archive, _ = find_archive(location, directory)
                except InputError as error:
                    raise InputError(f"{directory / 'feats.scp'}:{index + 1}: utterance {name}: {error}") from error
                found[file] = numbers.setdefault(archive, len(numbers))
            place = location.rpartition("/")[2]  # with the offset, and a range of rows
            yield (", " if index else "") + json.dumps([name, found[file], place])
        yield "], " + json.dumps([digests.of(path) for path in numbers]) + "]"

    return stream_digest([directory / "utt2num_frames"], places())


def code_digest(*parts: str) -> str:
    """What the Python files of these parts of dualtk say: a file, or all those of a folder."""
    files = [file for part in parts for file in sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / part]]
    return digest(files, [str(file.relative_to(PACKAGE)) for file in files])


def stage_key(parts: Mapping[str, object]) -> str:
    """A key for `Done` that still tells its parts apart: a line for each."""
    return "\n".join(f"{name}: {json.dumps(value, sort_keys=True, default=str)}" for name, value in parts.items())


def changes(done: Done, key: str) -> list[str]:
    """The names of the parts that are others than those that a stage finished with; none where it never finished."""
    if not done.path.is_file():
        return []
    before, now = (
        dict(line.partition(": ")[::2] for line in text.splitlines())
        for text in (done.path.read_text(encoding="utf-8"), key)
    )
    return [name for name in before | now if before.get(name) != now.get(name)]
