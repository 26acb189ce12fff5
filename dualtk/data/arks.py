"""Kaldi archives: matrices written one after another, read by seeking to the offset that feats.scp gives.

Only Kaldi's own binary matrices are read: kaldiio's general reader would also run pipes and unpickle objects.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from kaldiio.matio import read_matrix_or_vector, write_array
from torch import Tensor

from dualtk.data.ahead import read_ahead
from dualtk.data.kaldi import locate, not_found
from dualtk.data.pipes import is_pipe
from dualtk.data.remote import fetched, is_url
from dualtk.data.storage import encoded
from dualtk.errors import InputError
from dualtk.files import atomic_path

WIDTHS = {b"FM": 4, b"DM": 8}  # bytes of a number
COMPRESSED_WIDTHS = {b"CM": 1, b"CM2": 2, b"CM3": 1}


def write_entry(stream: BinaryIO, key: str, matrix: np.ndarray) -> int:
    """Append one matrix to an archive; returns its byte offset, as feats.scp wants it."""
    stream.write(f"{key} ".encode())
    offset = stream.tell()
    write_array(stream, matrix)
    return offset


def find_archive(location: str, directory: Path) -> tuple[Path, int]:
    """The archive of `file.ark:offset`, and the offset; `directory` is the data directory that names it.

    Raises:
        InputError: a pipe, or a file that is not there.
    """
    if is_pipe(location):
        raise InputError(f"{directory}: {location} is a pipe, and pipes are not run")
    location, _ = _rows(location)
    file, colon, offset = location.rpartition(":")
    if not colon or not offset.isdigit():
        file, offset = location, "0"
    path = fetched(file, directory) if is_url(file) else locate(file, directory) or _moved(Path(file), directory)
    if path is None:
        raise InputError(f"{directory}: no archive {not_found(file, directory)}")
    return path, int(offset)


def _moved(path: Path, directory: Path) -> Path | None:
    """Where an archive is that lay in its data directory, when this was moved as a whole and kept its name."""
    here = directory / path.name
    return here if path.parent.name == Path(os.path.abspath(directory)).name and here.is_file() else None


@dataclass(frozen=True)
class MatrixHeader:
    """What stands before the numbers of a matrix, and how many bytes all of it has."""

    rows: int
    columns: int
    size: int


def _read_header(stream: BinaryIO) -> MatrixHeader | None:
    """The header at the stream's position, or None where there is none, or not the bytes that it says.

    It is `\\0B`, a type and a space; then `\\4 rows \\4 columns` or, compressed, a minimum, a range, rows and columns.
    """
    start = stream.tell()
    head = stream.read(24)
    name, _, numbers = head[2:].partition(b" ")
    try:
        if name in WIDTHS:
            _, rows, _, columns = struct.unpack("<bibi", numbers[:10])
            size = 3 + len(name) + 10 + WIDTHS[name] * rows * columns
        elif name in COMPRESSED_WIDTHS:
            _, _, rows, columns = struct.unpack("<ffii", numbers[:16])
            size = 3 + len(name) + 16 + COMPRESSED_WIDTHS[name] * rows * columns + (8 * columns if name == b"CM" else 0)
        else:
            return None
    except struct.error:
        return None
    whole = head[:2] == b"\0B" and rows >= 0 and columns >= 0 and start + size <= os.fstat(stream.fileno()).st_size
    return MatrixHeader(rows, columns, size) if whole else None


@contextmanager
def _matrix(location: str, directory: Path) -> Iterator[tuple[BinaryIO, MatrixHeader]]:
    """The archive of a location at a matrix, and its header."""
    path, offset = find_archive(location, directory)
    read_ahead(path)
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            header = _read_header(stream)
            if header is None:
                raise InputError(f"{path}: byte {offset}: no Kaldi matrix there")
            stream.seek(offset)
            yield stream, header
    except (OSError, OverflowError) as error:
        raise InputError(f"{path}: byte {offset}: cannot be read ({error})") from error


def _rows(location: str) -> tuple[str, slice]:
    """A location without Kaldi's range of rows, `[first:last]` behind it, and the rows."""
    match = re.fullmatch(r"(.*)\[(\d+):(\d+)(?:,[:\d]*)?\]", location)
    if match is None:
        return location, slice(None)
    return match[1], slice(int(match[2]), int(match[3]) + 1)


def read_matrix(location: str, directory: Path) -> np.ndarray:
    """The matrix at `file.ark:offset`, or the only one of a file; `directory` is the data directory that names it.

    Raises:
        InputError: a pipe, a missing file, bytes there that are no whole Kaldi matrix, or numbers that are none.
    """
    _, rows = _rows(location)
    with _matrix(location, directory) as (stream, _):
        matrix: np.ndarray = read_matrix_or_vector(stream)[rows]
    return matrix


def read_bytes(location: str, directory: Path) -> bytes:
    """A matrix as it is stored, which `dualtk.data.storage.decoded` takes; raises as `read_matrix` does."""
    _, rows = _rows(location)
    if rows != slice(None):
        return encoded(read_matrix(location, directory).astype(np.float32), "float32")
    with _matrix(location, directory) as (stream, header):
        return stream.read(header.size)


def read_shape(location: str, directory: Path) -> tuple[int, int]:
    """Rows and columns of a matrix from its header alone; raises as `read_matrix` does."""
    _, rows = _rows(location)
    with _matrix(location, directory) as (_, header):
        return len(range(header.rows)[rows]), header.columns


def read_features(table: Path, name: str, location: str, *, is_finite: bool = True) -> np.ndarray:
    """The features (T, F) that a line of feats.scp names; `is_finite`: they have to be numbers.

    Raises:
        InputError: as `read_matrix`, or features that are not numbers; names the table and the utterance.
    """
    try:
        matrix = read_matrix(location, table.parent)
        if is_finite and not np.isfinite(matrix).all():
            raise InputError("holds features that are not numbers")
    except InputError as error:
        raise InputError(f"{table}: utterance {name}: {error}") from error
    return matrix


def write_cmvn(path: Path, stats: np.ndarray) -> None:
    """Write CMVN statistics as Kaldi's compute-cmvn-stats does for a whole set, whole or not at all.

    `stats` is (2, F + 1) float64: row 0 sums and the count, row 1 sums of squares and a zero.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        write_array(stream, stats)


def _entries(path: Path) -> int:
    """How many matrices follow each other in an archive."""
    count, place = 0, 0
    with path.open("rb") as stream:
        while True:
            stream.seek(place)
            start = stream.read(4096).find(b"\0B")
            stream.seek(place + max(start, 0))
            header = None if start < 0 else _read_header(stream)
            if header is None:
                return count
            count, place = count + 1, place + start + header.size


def read_cmvn(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation, float32 (F,) each, of a Kaldi cmvn.ark: a bare matrix, or its only entry.

    Variances are floored at 1e-5, so that a constant bin divides by nothing extreme.

    Raises:
        InputError: no statistics of a whole set: those of speakers are several.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file (`dualtk features --train` writes it, `dualtk data cmvn` for other features)"
        )
    start = path.read_bytes()[:4096].find(b"\0B")
    if start < 0:
        raise InputError(f"{path}: holds no Kaldi matrix")
    stats = read_matrix(f"{path}:{start}", path.parent).astype(np.float64)
    if (entries := _entries(path)) > 1:
        raise InputError(f"{path}: holds {entries} entries, as of speakers; expected one of the whole set")
    if stats.shape[0] != 2 or not stats[0, -1] >= 1 or not np.isfinite(stats).all():
        raise InputError(f"{path}: holds no CMVN statistics")
    mean = stats[0, :-1] / stats[0, -1]
    variance = np.maximum(stats[1, :-1] / stats[0, -1] - mean**2, 1e-5)
    return torch.from_numpy(mean).float(), torch.from_numpy(variance**-0.5).float()
