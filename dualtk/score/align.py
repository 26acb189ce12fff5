"""Alignment of two word sequences, choosing among equally good ones as NIST's sclite does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SUBSTITUTION_COST = 4
GAP_COST = 3  # of an insertion or a deletion


@dataclass(frozen=True)
class Pair:
    """One column of an alignment: a reference word beside a hypothesis word; None where there is none."""

    ref: str | None
    hyp: str | None

    @property
    def kind(self) -> str:
        """`C` correct, `S` substitution, `D` deletion, `I` insertion."""
        if self.ref is None:
            return "I"
        if self.hyp is None:
            return "D"
        return "C" if self.ref == self.hyp else "S"


def _moves(ref: Sequence[str], hyp: Sequence[str]) -> list[list[str]]:
    """The last move of a cheapest path to each cell: `S` diagonal, `D` down the reference, `I` along the hypothesis.

    Ties go to the diagonal, then to the insertion, which is what sclite does; its counts depend on it, because
    4 + 3 can also be spent as one substitution with a gap elsewhere.
    """
    costs = [GAP_COST * position for position in range(len(hyp) + 1)]
    moves = [["I"] * (len(hyp) + 1)]
    for row, ref_word in enumerate(ref, start=1):
        above, costs, row_moves = costs, [GAP_COST * row], ["D"]
        for column, hyp_word in enumerate(hyp, start=1):
            diagonal = above[column - 1] + (0 if ref_word == hyp_word else SUBSTITUTION_COST)
            deletion = above[column] + GAP_COST
            insertion = costs[column - 1] + GAP_COST
            if diagonal <= deletion and diagonal <= insertion:
                costs.append(diagonal)
                row_moves.append("S")
            elif deletion < insertion:
                costs.append(deletion)
                row_moves.append("D")
            else:
                costs.append(insertion)
                row_moves.append("I")
        moves.append(row_moves)
    return moves


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Pair]:
    """Align `hyp` to `ref` at least cost, substitutions costing 4 and gaps 3 (the costs of sclite).

    Words are compared as they stand: fold the case first where case does not count.
    """
    moves = _moves(ref, hyp)
    row, column = len(ref), len(hyp)
    pairs: list[Pair] = []
    while row or column:
        move = moves[row][column]
        row -= move != "I"
        column -= move != "D"
        pairs.append(Pair(None if move == "I" else ref[row], None if move == "D" else hyp[column]))
    return pairs[::-1]
