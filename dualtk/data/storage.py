"""How features of a set are kept: their archives' numbers, and whether there are archives at all. T frames, F features.

Kaldi has no half precision. Its two forms of whole numbers take as many bytes or fewer, are read by all that reads
archives, and lose less (`docs/data.md` has the figures): `two_bytes` cuts the range of a whole matrix into 65,535
steps, `one_byte` that of each column into 255, finer where most values lie (Povey et al., compressed-matrix.h).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from kaldiio.matio import read_matrix_or_vector, write_array

Storage = Literal["float32", "two_bytes", "one_byte"]
Source = Literal["stored", "audio"]
METHODS = {"float32": None, "two_bytes": 3, "one_byte": 2}  # Kaldi's CompressionMethod
COARSEST = {"float32": 0.0, "two_bytes": 1e-3, "one_byte": 0.3}  # steps of log energies, at most
FEWEST_ROWS = 5  # of which one_byte can take the quartiles


def encoded(matrix: np.ndarray, storage: Storage) -> bytes:
    """A matrix (T, F) float32 as an archive holds it, without its key."""
    method = METHODS[storage if len(matrix) >= FEWEST_ROWS or storage == "float32" else "two_bytes"]
    stream = io.BytesIO()
    write_array(stream, matrix, compression_method=method)
    return stream.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """The matrix (T, F) of `encoded`: with fewer bytes than float32 no more what it was."""
    matrix: np.ndarray = read_matrix_or_vector(io.BytesIO(content))
    return matrix


def set_suffix(speeds: Sequence[float], source: Source) -> str:
    """What the name of a training set's folder ends in: `_audio` where there are no archives, `_sp` where there are
    other speeds than 1.0."""
    if source == "audio":
        return "_audio"
    return "" if tuple(speeds) == (1.0,) else "_sp"
