"""The utterances of a set as columns: numbers and bytes in files that all processes of a machine map into memory.

They are written once, with the targets already encoded, and again where a table or the tokens changed. All processes of
a machine share the memory that they take (`tools/bench/scale.py` measures it).
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from dualtk.data import sums
from dualtk.data.kaldi import NAMED, empty_transcripts
from dualtk.data.selection import Entry, Selection, location_table, select_utterances, too_long
from dualtk.data.storage import Source
from dualtk.files import FolderKind, atomic_folder, digest
from dualtk.tables import each_entry

MARK = "columns.json"
# What each column holds; those of `ends` say where the bytes or targets of an utterance end.
KINDS = {"names": "B", "name_ends": "q", "archives": "i", "offsets": "q", "sizes": "q", "frames": "q", "sums": "q"}
KINDS |= {"places": "B", "place_ends": "q"}  # of those that are no part of an archive
KINDS |= {"targets": "i", "target_ends": "q"}
FOLDER = FolderKind("list of utterances", MARK, frozenset({MARK, *KINDS}))
LARGE = 4 << 20  # bytes of utt2num_frames from which a set is kept so: about 100,000 utterances
CHUNK = 1 << 16  # utterances between two writes
PLACE = re.compile(r"(.*):(\d{1,18})(?:\+(\d{1,18}))?")  # an archive, an offset, and perhaps a size


class Irregular(Exception):
    """Tables that do not go side by side: only reading them whole tells what is wrong, if anything is."""


@dataclass(frozen=True)
class Wanted:
    """Which utterances of a directory: see `select_utterances`."""

    directory: Path
    encode: Callable[[str], Sequence[int]] | None
    min_frames: int
    max_utterance_frames: int | None = None
    source: Source = "stored"

    def select(self) -> Selection:
        """Them, as Python objects."""
        return select_utterances(
            self.directory,
            self.encode,
            min_frames=self.min_frames,
            max_utterance_frames=self.max_utterance_frames,
            source=self.source,
        )


class Columns(Sequence[Entry]):
    """The utterances of a folder that `keep` wrote; their words are not in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
        self.places: list[str] = found["places"]
        self.dropped: list[str] = found["dropped"]
        self._columns = {name: _map(folder / name, kind) for name, kind in KINDS.items()}
        self.frames, self.sums = self._columns["frames"], self._columns["sums"]
        self.archives = self._columns["archives"]

    def __reduce__(self) -> tuple[type[Columns], tuple[Path]]:
        return Columns, (self.folder,)

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Entry(
            name=self._between("name", "names", index).tobytes().decode(),
            location=self._location(index),
            num_frames=int(self.frames[index]),
            text="",
            targets=tuple(self._between("target", "targets", index).tolist()),
        )

    def _location(self, index: int) -> str:
        archive, size = int(self._columns["archives"][index]), int(self._columns["sizes"][index])
        if archive < 0:
            return self._between("place", "places", index).tobytes().decode()
        place = f"{self.places[archive]}:{self._columns['offsets'][index]}"
        return place if size < 0 else f"{place}+{size}"

    def _between(self, name: str, column: str, index: int) -> NDArray[np.int64]:
        ends = self._columns[f"{name}_ends"]
        return self._columns[column][int(ends[index - 1]) if index else 0 : int(ends[index])]


def _map(path: Path, kind: str) -> NDArray[np.int64]:
    """A column; a file of no bytes cannot be mapped."""
    numbers = np.dtype(kind)
    return np.memmap(path, numbers, "r") if path.stat().st_size else np.zeros(0, numbers)


def is_large(directory: Path) -> bool:
    """Whether the utterances of a data directory are too many for Python objects."""
    path = directory / "utt2num_frames"
    return path.exists() and path.stat().st_size >= LARGE


def lengths(directory: Path, source: Source = "stored") -> NDArray[np.int64]:
    """Feature frames of every utterance of a data directory.

    Raises:
        InputError: as `select_utterances`.
    """
    wanted = Wanted(directory, None, min_frames=4, source=source)
    try:
        return np.fromiter((entry.num_frames for entry, _ in _side_by_side(wanted, [])), np.int64)
    except Irregular:
        return np.array([entry.num_frames for entry in wanted.select().entries], np.int64)


def keep(folder: Path, wanted: Wanted, tokens: Path | None) -> None:
    """Write the utterances of a set into `folder`, unless they are there; `tokens` is what their targets follow from.

    Raises:
        InputError: as `select_utterances`.
    """
    key = _key(wanted, tokens)
    if (folder / MARK).exists() and json.loads((folder / MARK).read_text(encoding="utf-8"))["key"] == key:
        return
    with atomic_folder(folder, FOLDER) as temporary:
        try:
            _write(temporary, wanted, key, _side_by_side)
        except Irregular:
            _write(temporary, wanted, key, _as_objects)


def kept(folder: Path, directory: Path) -> Selection:
    """What `keep` wrote."""
    columns = Columns(folder)
    has_sums = (directory / sums.FILE).exists()
    archives = (columns.places, columns.archives)
    return Selection(directory, columns, columns.dropped, columns.frames, columns.sums if has_sums else None, archives)


def _key(wanted: Wanted, tokens: Path | None) -> str:
    """What decides the columns: the state of the tables, the tokens and the limits."""
    states = {}
    table = location_table(wanted.directory, wanted.source)
    for name in (table.name, "utt2num_frames", "text", sums.FILE):
        path = wanted.directory / name
        found = path.stat() if path.exists() else None
        states[name] = found and (found.st_size, found.st_mtime_ns, found.st_ino)
    limits = [wanted.min_frames, wanted.max_utterance_frames, wanted.encode is not None, KINDS]
    return digest([] if tokens is None else [tokens], [str(wanted.directory.resolve()), states, limits])


Entries = Callable[[Wanted, "list[str]"], Iterator["tuple[Entry, int]"]]


def _write(folder: Path, wanted: Wanted, key: str, source: Entries) -> None:
    folder.mkdir(exist_ok=True)
    dropped: list[str] = []
    places: dict[str, int] = {}
    buffers = {name: array(kind) for name, kind in KINDS.items()}
    name_end = place_end = target_end = count = 0
    streams = {name: (folder / name).open("wb") for name in KINDS}
    try:
        for count, (entry, one_sum) in enumerate(source(wanted, dropped), start=1):
            name = entry.name.encode()
            match = PLACE.fullmatch(entry.location)
            other = b"" if match else entry.location.encode()
            name_end, target_end = name_end + len(name), target_end + len(entry.targets)
            place_end += len(other)
            buffers["names"].frombytes(name)
            buffers["name_ends"].append(name_end)
            buffers["archives"].append(places.setdefault(match[1], len(places)) if match else -1)
            buffers["offsets"].append(int(match[2]) if match else -1)
            buffers["sizes"].append(int(match[3]) if match and match[3] else -1)
            buffers["places"].frombytes(other)
            buffers["place_ends"].append(place_end)
            buffers["frames"].append(entry.num_frames)
            buffers["targets"].extend(entry.targets)
            buffers["target_ends"].append(target_end)
            buffers["sums"].append(one_sum)
            if count % CHUNK == 0:
                _flush(buffers, streams)
        _flush(buffers, streams)
    finally:
        for stream in streams.values():
            stream.close()
    if not count:
        raise Irregular
    text = json.dumps({"key": key, "places": list(places), "dropped": dropped})
    (folder / MARK).write_text(text, encoding="utf-8")


def _flush(buffers: dict[str, array], streams: dict) -> None:  # type: ignore[type-arg]
    for name, buffer in buffers.items():
        buffer.tofile(streams[name])
        del buffer[:]


def _as_objects(wanted: Wanted, dropped: list[str]) -> Iterator[tuple[Entry, int]]:
    selection = wanted.select()
    dropped += selection.dropped
    found = sums.read_sums(wanted.directory, (entry.name for entry in selection.entries))
    for index, entry in enumerate(selection.entries):
        yield entry, sums.UNKNOWN if found is None else int(found[index])


def _side_by_side(wanted: Wanted, dropped: list[str]) -> Iterator[tuple[Entry, int]]:
    """The tables are all in one order, so that none need be held.

    Raises:
        Irregular: a fault, or one that may be.
    """
    directory, longest = wanted.directory, wanted.max_utterance_frames
    text = directory / "text"
    texts = _Follower(text, empty_values=True) if wanted.encode is not None or text.exists() else None
    frames, checksums = _Follower(directory / "utt2num_frames"), None
    if (directory / sums.FILE).exists():
        checksums = _Follower(directory / sums.FILE)
    empty: list[str] = []
    number_of_empty = 0
    for name, location in each_entry(location_table(directory, wanted.source)):
        words = texts.at(name) if texts is not None else ""
        if words is None:
            raise Irregular
        if texts is not None and not words:
            number_of_empty += 1
            empty += [name] if len(empty) <= NAMED else []
            continue
        count = frames.at(name) or ""
        if not count.isdigit() or int(count) < wanted.min_frames:
            raise Irregular
        num_frames = int(count)
        if longest is not None and num_frames > longest:
            dropped.append(too_long(f"{frames.path}:{frames.number}", name, num_frames, longest))
            continue
        targets = tuple(wanted.encode(words)) if wanted.encode is not None else ()
        sum_of = checksums.at(name) if checksums is not None else None
        try:
            yield Entry(name, location, num_frames, "", targets), sums.UNKNOWN if sum_of is None else int(sum_of, 16)
        except ValueError:
            raise Irregular from None
    dropped[:0] = empty_transcripts(directory, empty, number_of_empty)


class _Follower:
    """The values of a table, asked for in the order of its keys."""

    def __init__(self, path: Path, *, empty_values: bool = False) -> None:
        self.path, self.number = path, 0
        self._entries = each_entry(path, empty_values=empty_values)
        self._key, self._value = "", ""

    def at(self, key: str) -> str | None:
        """The value of a key, or None."""
        while self._key < key:
            found = next(self._entries, None)
            if found is None:
                return None
            (self._key, self._value), self.number = found, self.number + 1
        return self._value if self._key == key else None
