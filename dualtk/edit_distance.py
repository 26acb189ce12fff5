"""Levenshtein distance of two sequences, and which edits it consists of. N symbols of the reference, M of the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualtk.jit import kernel


@dataclass(frozen=True)
class Edits:
    """The fewest edits that make one sequence into the other."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def total(self) -> int:
        """All of them: the distance."""
        return self.substitutions + self.deletions + self.insertions


def edits(ref: Sequence[Hashable], hyp: Sequence[Hashable]) -> Edits:
    """What was done to `ref` where `hyp` came out; among equally few edits those that Kaldi's compute-wer counts."""
    numbers: dict[Hashable, int] = {}
    one, other = (np.array([numbers.setdefault(symbol, len(numbers)) for symbol in x], np.int64) for x in (ref, hyp))
    counts = np.zeros((4, len(other) + 1), np.int64)
    _count(one, other, counts)
    return Edits(*(int(count) for count in counts[1:, -1]))


@kernel
def _count(ref: NDArray[np.int64], hyp: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Leave in column m of `counts` (4, M + 1) distance, substitutions, deletions and insertions for m of `hyp`.

    Ties go to the insertion, then to the substitution where it beats the others, then to the deletion.
    """
    for column in range(len(hyp) + 1):
        counts[0, column], counts[3, column] = column, column
    corner, above = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for row in range(len(ref)):
        corner[:] = counts[:, 0]
        counts[0, 0] += 1
        counts[2, 0] += 1
        for column in range(1, len(hyp) + 1):
            above[:] = counts[:, column]
            wrong = 1 if ref[row] != hyp[column - 1] else 0
            substitution, deletion, insertion = corner[0] + wrong, above[0] + 1, counts[0, column - 1] + 1
            if substitution < insertion and substitution < deletion:
                counts[:, column] = corner
                counts[0, column] += wrong
                counts[1, column] += wrong
            elif deletion < insertion:
                counts[0, column] += 1
                counts[2, column] += 1
            else:
                counts[:, column] = counts[:, column - 1]
                counts[0, column] += 1
                counts[3, column] += 1
            corner[:] = above
