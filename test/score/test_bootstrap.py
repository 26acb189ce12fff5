"""Paired intervals of relative change and of percentiles, against every resample that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import product
from statistics import fmean

import numpy as np
import pytest

from dualtk.score.bootstrap import Interval, compare, percentile_difference, relative_change

REPLICATES = 20000
TOLERANCE = 0.004  # of a tail of 0.025 by 20,000 draws: over three standard deviations
NUM = 5  # utterances, of which there are 5 ** 5 resamples


def agrees(found: Interval, statistic: Callable[[Sequence[int]], float | None]) -> None:
    """The bounds leave 2.5 % of all resamples below and above; a bound may be a value that many of them have."""
    every = [value for drawn in product(range(NUM), repeat=NUM) if (value := statistic(drawn)) is not None]
    assert found.value == pytest.approx(statistic(range(NUM)))
    for bound, tail in ((found.low, 0.025), (found.high, 0.975)):
        below = fmean(value < bound - 1e-9 for value in every)
        up_to = fmean(value <= bound + 1e-9 for value in every)
        assert below - TOLERANCE <= tail <= up_to + TOLERANCE
    assert found.low < found.value < found.high


def percentile(values: Sequence[float], rank: float) -> float:
    """By linear interpolation between the ordered values."""
    ordered = sorted(values)
    place = rank / 100 * (len(ordered) - 1)
    lower = min(int(place), len(ordered) - 2)
    return ordered[lower] + (place - lower) * (ordered[lower + 1] - ordered[lower])


def test_relative_change_is_that_of_all_resamples() -> None:
    first, second = [3, 0, 1, 7, 2], [2, 0, 3, 5, 1]

    def change(drawn: Sequence[int]) -> float | None:
        before, after = sum(first[index] for index in drawn), sum(second[index] for index in drawn)
        return float(Fraction(after, before) - 1) if before else None

    found = relative_change(first, second, REPLICATES)
    assert found is not None
    agrees(found, change)


@pytest.mark.parametrize("rank", [50.0, 90.0])
def test_difference_of_percentiles_is_that_of_all_resamples(rank: float) -> None:
    """Two runs of each system; the second system's delays are the first's with a little noise, so that pairs matter."""
    random = np.random.default_rng(1)
    first = random.normal(0.0, 1.0, (2, NUM))
    second = first - 0.1 + random.normal(0.0, 0.05, (2, NUM))

    def difference(drawn: Sequence[int]) -> float:
        means = [fmean(percentile([run[index] for index in drawn], rank) for run in runs) for runs in (first, second)]
        return means[1] - means[0]

    agrees(percentile_difference(first, second, rank, REPLICATES), difference)


def test_equal_systems_do_not_differ() -> None:
    delays = np.random.default_rng(2).normal(size=(3, 40))
    assert percentile_difference(delays, delays.copy(), 90.0) == Interval(0.0, 0.0, 0.0)
    assert relative_change([2, 0, 1], [2, 0, 1]) == Interval(0.0, 0.0, 0.0)


def test_no_change_is_relative_to_nothing() -> None:
    assert relative_change([0, 0], [1, 0]) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    delays = np.random.default_rng(3).normal(size=(2, 1, 40))
    assert percentile_difference(*delays, 50.0) == percentile_difference(*delays, 50.0)
    assert percentile_difference(*delays, 50.0) != percentile_difference(*delays, 50.0, seed=1)


def test_relative_change_goes_with_the_absolute_one() -> None:
    """With words in proportion to the first system's errors, one is a multiple of the other, draw by draw."""
    first, second = [1, 2, 3, 4], [2, 2, 1, 5]
    absolute, relative = compare(first, second, [10, 20, 30, 40]).difference, relative_change(first, second)
    assert relative is not None
    for one, other in ((relative.value, absolute.value), (relative.low, absolute.low), (relative.high, absolute.high)):
        assert one == pytest.approx(10 * other)
