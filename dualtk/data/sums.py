"""Checksums of stored features: a disk may give back other bytes than it took."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualtk.errors import InputError
from dualtk.tables import load_table

FILE = "utt2crc"  # a table like those of Kaldi, in a folder that `dualtk features` wrote
UNKNOWN = -1


def _crc(matrix: NDArray[np.floating]) -> int:
    return zlib.crc32(matrix.tobytes())


def checksum(matrix: NDArray[np.floating]) -> str:
    """CRC-32 of the numbers of a matrix, as the table writes it."""
    return f"{_crc(matrix):08x}"


def read_sums(directory: Path, names: Iterable[str]) -> NDArray[np.int64] | None:
    """The checksums of utterances in their order, UNKNOWN where the table lacks one; None where there is no table.

    Raises:
        InputError: a faulty table.
    """
    path = directory / FILE
    if not path.exists():
        return None
    table = load_table(path)
    try:
        return np.array([int(table.entries.get(name, str(UNKNOWN)), 16) for name in names])
    except ValueError as error:
        raise InputError(f"{path}: holds something else than checksums: {error}") from error


def require_sum(matrix: NDArray[np.floating], expected: int, where: str) -> None:
    """Refuse features that are not those that were written.

    Raises:
        InputError: begins with `where`.
    """
    if expected not in (UNKNOWN, _crc(matrix)):
        raise InputError(f"{where}: damaged: its features do not have their checksum; make them again")
