"""Edits against kaldialign, which we did not write, and against the definition."""

from __future__ import annotations

import random
from functools import cache

import kaldialign
import pytest

from dualtk.edit_distance import Edits, edits


@pytest.mark.parametrize("seed", range(4))
def test_as_kaldialign(seed: int) -> None:
    """Which edits, too, though often there are several ways."""
    generator = random.Random(seed)
    for _ in range(200):
        ref, hyp = ([generator.choice("abcd") for _ in range(generator.randint(0, 14))] for _ in range(2))
        theirs = kaldialign.edit_distance(ref, hyp)
        assert edits(ref, hyp) == Edits(theirs["sub"], theirs["del"], theirs["ins"])
        assert edits(ref, hyp).total == theirs["total"]


def test_the_fewest() -> None:
    generator = random.Random(9)

    @cache
    def fewest(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        kept = fewest(one[1:], other[1:])
        return kept if one[0] == other[0] else 1 + min(kept, fewest(one[1:], other), fewest(one, other[1:]))

    for _ in range(100):
        one, other = ("".join(generator.choice("abc") for _ in range(generator.randint(0, 7))) for _ in range(2))
        assert edits(one, other).total == fewest(one, other)


def test_any_symbols() -> None:
    assert edits([3, 7, 7], [3, 7]) == Edits(0, 1, 0)
    assert edits("straße", "strasse").total == 2
    assert edits("", "") == Edits(0, 0, 0)
    assert edits("", "abc") == Edits(0, 0, 3)
    assert edits("abc", "") == Edits(0, 3, 0)
