"""Kaldi archives: matrices written one after another, read by seeking to the offset that feats.scp gives.

Only Kaldi's own binary matrices are read: kaldiio's general reader would also run pipes and unpickle objects.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from kaldiio.matio import read_matrix_or_vector, write_array
from torch import Tensor

from dualtk.data.kaldi import locate
from dualtk.errors import InputError
from dualtk.files import atomic_path


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
    if "|" in (location[:1], location[-1:]):
        raise InputError(f"{directory}: {location} is a pipe, and pipes are not run")
    file, colon, offset = location.rpartition(":")
    if not colon or not offset.isdigit():
        file, offset = location, "0"
    path = locate(file, directory) or _moved(Path(file), directory)
    if path is None:
        raise InputError(f"{directory}: no archive {file}")
    return path, int(offset)


def _moved(path: Path, directory: Path) -> Path | None:
    """Where an archive is that lay in its data directory, when this was moved as a whole and kept its name."""
    here = directory / path.name
    return here if path.parent.name == Path(os.path.abspath(directory)).name and here.is_file() else None


def _open(location: str, directory: Path) -> tuple[BinaryIO, str]:
    """The archive of `file.ark:offset` at its offset, and a name for messages."""
    path, offset = find_archive(location, directory)
    stream = path.open("rb")
    stream.seek(offset)
    return stream, f"{path}: byte {offset}"


def read_matrix(location: str, directory: Path) -> np.ndarray:
    """The matrix at `file.ark:offset`, or the only one of a file; `directory` is the data directory that names it.

    Raises:
        InputError: a pipe, a missing file, or bytes there that are no whole Kaldi matrix.
    """
    stream, where = _open(location, directory)
    with stream:
        try:
            matrix: np.ndarray = read_matrix_or_vector(stream)
        except (AssertionError, ValueError, OSError, IndexError, struct.error) as error:
            raise InputError(f"{where}: no Kaldi matrix there") from error
    return matrix


def read_shape(location: str, directory: Path) -> tuple[int, int]:
    """Rows and columns of a matrix from its header alone; raises as `read_matrix` does.

    A header is `\\0B`, a type and a space; then `\\4 rows \\4 columns` or, compressed,
    a minimum, a range, rows and columns.
    """
    stream, where = _open(location, directory)
    with stream:
        header = stream.read(24)
    try:
        kind, numbers = header[2:].split(b" ", 1)
        if header[:2] == b"\0B" and kind in (b"FM", b"DM"):
            _, rows, _, columns = struct.unpack("<bibi", numbers[:10])
            return rows, columns
        if header[:2] == b"\0B" and kind in (b"CM", b"CM2", b"CM3"):
            _, _, rows, columns = struct.unpack("<ffii", numbers[:16])
            return rows, columns
    except (ValueError, struct.error):
        pass
    raise InputError(f"{where}: no Kaldi matrix there")


def write_cmvn(path: Path, stats: np.ndarray) -> None:
    """Write CMVN statistics as Kaldi's compute-cmvn-stats does for a whole set, whole or not at all.

    `stats` is (2, F + 1) float64: row 0 sums and the count, row 1 sums of squares and a zero.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        write_array(stream, stats)


def _entries(path: Path) -> int:
    """How many matrices follow each other in an archive."""
    with path.open("rb") as stream:
        count = 0
        while True:
            while (letter := stream.read(1)) not in (b"", b"\0"):
                pass
            if not letter:
                return count
            stream.seek(-1, 1)
            try:
                read_matrix_or_vector(stream)
            except (AssertionError, ValueError, OSError, IndexError, struct.error):
                return count
            count += 1


def read_cmvn(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation, float32 (F,) each, of a Kaldi cmvn.ark: a bare matrix, or its only entry.

    Variances are floored at 1e-5, so that a constant bin divides by nothing extreme.

    Raises:
        InputError: no statistics of a whole set: those of speakers are several.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file (dualtk features --cmvn writes it)")
    start = path.read_bytes()[:4096].find(b"\0B")
    if start < 0:
        raise InputError(f"{path}: holds no Kaldi matrix")
    stats = read_matrix(f"{path}:{start}", path.parent).astype(np.float64)
    if (entries := _entries(path)) > 1:
        raise InputError(f"{path}: holds {entries} entries, as of speakers; expected one of the whole set")
    if stats.ndim != 2 or stats.shape[0] != 2 or stats[0, -1] < 1:
        raise InputError(f"{path}: holds no CMVN statistics")
    mean = stats[0, :-1] / stats[0, -1]
    variance = np.maximum(stats[1, :-1] / stats[0, -1] - mean**2, 1e-5)
    return torch.from_numpy(mean).float(), torch.from_numpy(variance**-0.5).float()
