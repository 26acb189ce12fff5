"""Alignment of two word sequences, choosing among equally good ones as NIST's sclite does.

Memory grows with the length of the transcript times its square root: the costs of a few rows are kept, and those
between them computed again on the way back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dualtk.jit import kernel
from dualtk.score.marks import NOTHING, Network, cleaned, is_optional, network, spoken

Cost = np.float32
Costs = NDArray[np.float32]  # single precision, as in sclite, on whose rounding some ties depend

SUBSTITUTION_COST: Cost = np.float32(4.0)
GAP_COST: Cost = np.float32(3.0)  # of an insertion or a deletion
OPTIONAL_COST: Cost = np.float32(2.0)  # of leaving out a word that may be left out
NOTHING_COST: Cost = np.float32(0.001)
NO_COST: Cost = np.float32(0.0)
TWO_NOTHINGS_COST: Cost = np.float32(1.0)
FAR: Cost = np.float32(999_999_999.0)  # more than any alignment costs
NARROWEST = 64  # words by which an alignment may always stray from the diagonal


@dataclass(frozen=True)
class Pair:
    """One column of an alignment: a reference word beside a hypothesis word; None where there is none."""

    ref: str | None
    hyp: str | None

    @property
    def kind(self) -> str:
        """`C` correct, `S` substitution, `D` deletion, `I` insertion; a word that may be left out is right without."""
        if self.ref is None:
            return "C" if is_optional(self.hyp or "") else "I"
        if self.hyp is None:
            return "C" if is_optional(self.ref) else "D"
        return "C" if spoken(self.ref) == spoken(self.hyp) else "S"


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Pair]:
    """Align `hyp` to `ref` at least cost, substitutions costing 4 and gaps 3 (the costs of sclite).

    `ref` may hold the marks of `dualtk.score.marks`; of `hyp`, all but braces are read. Words are compared as they
    stand: fold the case first where case does not count.
    """
    return _Alignment(network(ref), [cleaned(word) for word in hyp]).pairs()


def _gap(word: str) -> Cost:
    if word == NOTHING:
        return NOTHING_COST
    return OPTIONAL_COST if is_optional(word) else GAP_COST


def _difference(ref: str, hyp: str) -> Cost:
    if ref == hyp == NOTHING:
        return TWO_NOTHINGS_COST
    return NO_COST if spoken(ref) == spoken(hyp) else SUBSTITUTION_COST


@kernel
def _fill(cells: Costs, above: Costs, others: Costs, word: int, gap: Cost, inserted: Costs) -> None:
    """A row of costs (W,) from those of the rows above it (1 + W,), the first to the left of its own first.

    `others` (W,) are the hypothesis words, `inserted` what their insertion costs, `gap` what a deletion of `word` does.
    """
    left = FAR
    for column in range(len(cells)):
        best = min(above[column + 1] + gap, left + inserted[column])
        if others[column] != word:
            left = min(best, above[column] + SUBSTITUTION_COST)
        else:
            left = min(best, above[column] + (TWO_NOTHINGS_COST if gap == NOTHING_COST else NO_COST))
        cells[column] = left


@dataclass(frozen=True)
class _Row:
    """Costs of the best paths that end with a word of the network and with the first `low`, `low` + 1 ... others.

    Behind the last of them is a cell that no path reaches.
    """

    low: int
    cells: Costs

    def part(self, low: int, high: int) -> Costs:
        """The cells from `low` to before `high`."""
        begin, end = low - self.low, high - self.low
        if begin >= 0 and end <= len(self.cells):
            return self.cells[begin:end]
        padded = np.full(high - low, FAR, self.cells.dtype)
        padded[max(0, -begin) : max(0, len(self.cells) - begin)] = self.cells[max(0, begin) : max(0, end)]
        return padded

    def at(self, column: int) -> Cost:
        """One cell."""
        place = column - self.low
        return np.float32(self.cells[place]) if 0 <= place < len(self.cells) else FAR


class _Alignment:
    """The cheapest path through a network, the start and N words, and M words in a row.

    Only cells about the diagonal are computed: a path that strays further costs too much.
    """

    def __init__(self, ref: Network, hyp: Sequence[str]) -> None:
        self.ref = ref
        self.hyp = list(hyp)
        ids: dict[str, int] = {}
        self.ref_ids = [ids.setdefault(spoken(word), len(ids)) for word in ref.words]
        others = [-1, *(ids.setdefault(spoken(word), len(ids)) for word in hyp)]
        self.others = np.array(others, np.int32)  # behind each number of hypothesis words
        self.all = len(ref.words) + len(hyp)
        self.gaps = [_gap(word) for word in ref.words]
        self.inserted = np.array([0, *map(_gap, hyp)], np.float32)
        lacking = [gap for word, gap in zip(ref.words[1:], self.gaps[1:]) if word != NOTHING]
        self.cheapest: float = min([GAP_COST, *lacking, *self.inserted[1:].tolist()])
        self.shortest, self.longest = self._lengths()
        ends = self.ref.ends
        self.fewer = min(0, len(hyp) - max(self.longest[end] for end in ends))
        self.more = max(0, len(hyp) - min(self.shortest[end] for end in ends))
        self.stray = max(NARROWEST, len(hyp) // 32)

    def _lengths(self) -> tuple[list[int], list[int]]:
        """The fewest and the most words on a path to each word of the network and with it."""
        shortest, longest = [0], [0]
        for word, before in zip(self.ref.words[1:], self.ref.before[1:]):
            shortest.append(min(shortest[one] for one in before) + (word != NOTHING))
            longest.append(max(longest[one] for one in before) + (word != NOTHING))
        return shortest, longest

    def _row(self, word: int, rows: dict[int, _Row]) -> _Row:
        """The row of a word, from those of the words before it."""
        size = len(self.hyp)
        low = min(max(self.shortest[word] + self.fewer - self.stray, 0), size)
        high = min(self.longest[word] + self.more + self.stray, size) + 1
        row = np.full(high - low + 1, FAR, np.float32)
        cells = row[:-1]
        if word == 0:
            np.cumsum(self.inserted[:high], out=cells)  # adds one after the other
            return _Row(low, row)
        above = [rows[one].part(low - 1, high) for one in self.ref.before[word]]
        best = above[0] if len(above) == 1 else np.minimum.reduce(above)
        _fill(cells, best, self.others[low:high], self.ref_ids[word], self.gaps[word], self.inserted[low:high])
        return _Row(low, row)

    def _pieces(self) -> list[range]:
        """The words but the start in pieces; all paths lead through the word before each."""
        step, cuts = max(1, math.isqrt(len(self.ref.words))), [0]
        for cut in self.ref.cuts:
            if cut >= cuts[-1] + step:
                cuts.append(cut)
        return [range(entry + 1, last + 1) for entry, last in pairwise([*cuts, len(self.ref.words) - 1])]

    def _rows(self, words: range, first: _Row) -> dict[int, _Row]:
        """The rows of a piece and of the word before it, which is `first`."""
        rows = {words.start - 1: first}
        for word in words:
            rows[word] = self._row(word, rows)
        return rows

    def _firsts(self, pieces: Sequence[range]) -> tuple[list[_Row], float]:
        """The row before each piece, and the cost of the whole."""
        rows = {0: self._row(0, {})}
        firsts = []
        for words in pieces:
            firsts.append(rows[words.start - 1])
            rows = self._rows(words, firsts[-1])
        return firsts, float(min(rows[end].at(len(self.hyp)) for end in self.ref.ends))

    def pairs(self) -> list[Pair]:
        """The words side by side."""
        pieces = self._pieces()
        firsts, cost = self._firsts(pieces)
        while self.stray < min(self.all, needed := int(cost / (2 * self.cheapest)) + 1):
            self.stray = min(self.all, needed)
            firsts, cost = self._firsts(pieces)
        found: list[Pair] = []
        word, column = -1, len(self.hyp)
        for words, first in zip(reversed(pieces), reversed(firsts)):
            rows = self._rows(words, first)
            if word < 0:
                word = min(self.ref.ends, key=lambda end: rows[end].at(column))
            while word >= words.start:
                word, column = self._step(rows, word, column, found)
        found += [Pair(None, one) for one in reversed(self.hyp[:column]) if one != NOTHING]
        return found[::-1]

    def _step(self, rows: dict[int, _Row], word: int, column: int, found: list[Pair]) -> tuple[int, int]:
        """One step back along the cheapest path, and what it aligned.

        Ties go to the diagonal, then to the insertion, which is what sclite does; its counts depend on it, because
        4 + 3 can also be spent as one substitution with a gap elsewhere.
        """
        ref, before = self.ref.words[word], self.ref.before[word]
        above = min(before, key=lambda one: rows[one].at(column))
        deletion = rows[above].at(column) + self.gaps[word]
        if column:
            hyp = self.hyp[column - 1]
            beside = min(before, key=lambda one: rows[one].at(column - 1))
            diagonal = rows[beside].at(column - 1) + _difference(ref, hyp)
            insertion = rows[word].at(column - 1) + _gap(hyp)
            if diagonal <= deletion and diagonal <= insertion:
                if ref != NOTHING or hyp != NOTHING:
                    found.append(Pair(ref, hyp))
                return beside, column - 1
            if deletion >= insertion:
                if hyp != NOTHING:
                    found.append(Pair(None, hyp))
                return word, column - 1
        if ref != NOTHING:
            found.append(Pair(ref, None))
        return above, column
