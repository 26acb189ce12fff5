"""Mean and variance of features that were made elsewhere, and how many frames each utterance has. F features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualtk.data.arks import read_features
from dualtk.errors import InputError

INT16_OFFSET = 2 * np.log(32768.0)  # of log energies of 16-bit samples, as Kaldi has them, over those of [-1, 1]
HIGHEST_MEAN = INT16_OFFSET / 4  # of log-mel energies of samples in [-1, 1]; those of speech are about -5


@dataclass(frozen=True)
class Statistics:
    """Sums over all frames.

    Attributes:
        frames: of every utterance.
        stats: (2, F + 1) as `write_cmvn` takes them.
    """

    frames: Mapping[str, int]
    stats: np.ndarray

    @property
    def mean(self) -> float:
        """Of all values."""
        return float(self.stats[0, :-1].mean() / self.stats[0, -1])

    @property
    def is_of_16_bit_samples(self) -> bool:
        """Whether these are log-mel energies on Kaldi's scale, by their mean."""
        return self.mean > float(HIGHEST_MEAN)


def sum_up(table: Path, locations: Mapping[str, str]) -> Statistics:
    """Read all features of a feats.scp once.

    Raises:
        InputError: features that cannot be read, of another dimension than the first, or that are no numbers.
    """
    frames: dict[str, int] = {}
    stats = np.zeros((0, 0))
    for name, location in locations.items():
        matrix = read_features(table, name, location)
        if matrix.ndim != 2 or (stats.size and matrix.shape[1] != stats.shape[1] - 1):
            wanted = f"expected (T, {stats.shape[1] - 1})" if stats.size else "expected (T, F)"
            raise InputError(f"{table}: utterance {name} has features {tuple(matrix.shape)}, {wanted}")
        if not stats.size:
            stats = np.zeros((2, matrix.shape[1] + 1))
        stats[0, :-1] += matrix.sum(axis=0, dtype=np.float64)
        stats[1, :-1] += np.square(matrix, dtype=np.float64).sum(axis=0)
        stats[0, -1] += len(matrix)
        frames[name] = len(matrix)
    return Statistics(frames, stats)
