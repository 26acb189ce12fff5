"""Bootstrap confidence intervals over utterances (Bisani and Ney 2004, for word error rates)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
SEED = 0
BLOCK = 100  # replicates drawn together, which bounds the memory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure with the interval that holds 95 % of its bootstrap replicates."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances: difference of their error rates (second minus first), and its interval.

    `probability` is the share of replicates in which the second system is the better one.
    """

    difference: Interval
    probability: float


def _draws(num: int, replicates: int, seed: int) -> list[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    sizes = [min(BLOCK, replicates - start) for start in range(0, replicates, BLOCK)]
    return [generator.integers(0, num, (size, num)) for size in sizes]


def _interval(value: float, replicates: Floats) -> Interval:
    low, high = np.percentile(replicates, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def statistic_interval(
    values: Floats, statistic: Callable[[Floats], Floats], replicates: int = REPLICATES, seed: int = SEED
) -> Interval:
    """Interval of a statistic of one number per utterance.

    Args:
        values: (N,), N at least 1.
        statistic: maps (..., N) to (...), over the last axis.
        replicates: number of resamples.
        seed: of the resampling; the same seed gives the same interval.
    """
    drawn = np.concatenate([statistic(values[indices]) for indices in _draws(len(values), replicates, seed)])
    return _interval(float(statistic(values)), drawn)


def _rates(errors: Floats, sizes: Floats, replicates: int, seed: int) -> Floats:
    """Error rate of each replicate; those that drew no reference word at all are left out."""
    drawn = _draws(len(errors), replicates, seed)
    totals = np.concatenate([sizes[indices].sum(axis=1) for indices in drawn])
    wrong = np.concatenate([errors[indices].sum(axis=1) for indices in drawn])
    rates: Floats = wrong[totals > 0] / totals[totals > 0]
    return rates


def rate_interval(
    errors: Sequence[int], sizes: Sequence[int], replicates: int = REPLICATES, seed: int = SEED
) -> Interval:
    """Interval of an error rate, errors / reference words, by resampling utterances.

    Args:
        errors: errors of each utterance.
        sizes: reference words of each utterance; at least one is positive.
        replicates: number of resamples.
        seed: of the resampling.
    """
    rates = _rates(np.asarray(errors, float), np.asarray(sizes, float), replicates, seed)
    return _interval(sum(errors) / sum(sizes), rates)


def compare(
    first: Sequence[int], second: Sequence[int], sizes: Sequence[int], replicates: int = REPLICATES, seed: int = SEED
) -> Comparison:
    """Paired bootstrap: both systems are resampled by the same draws, so that hard utterances cancel.

    Args:
        first: errors of the first system on each utterance.
        second: errors of the second system on the same utterances.
        sizes: reference words of each utterance.
        replicates: number of resamples.
        seed: of the resampling.
    """
    words = np.asarray(sizes, float)
    difference = np.asarray(second, float) - np.asarray(first, float)
    rates = _rates(difference, words, replicates, seed)
    return Comparison(_interval(float(difference.sum() / words.sum()), rates), float((rates < 0).mean()))


def relative_change(
    first: Sequence[int], second: Sequence[int], replicates: int = REPLICATES, seed: int = SEED
) -> Interval | None:
    """Paired bootstrap of the change of an error rate as a fraction of the first system's, second / first - 1.

    Both make their errors on the same utterances, so reference words cancel. Replicates without an error of the first
    system are left out.

    Args:
        first: errors of the first system on each utterance.
        second: errors of the second system on the same utterances.
        replicates: number of resamples.
        seed: of the resampling; with that of `compare` the draws are the same.

    Returns:
        None where the first system makes no error at all.
    """
    if not sum(first):
        return None
    return rate_interval([after - before for before, after in zip(first, second)], first, replicates, seed)


def percentile_difference(
    first: Floats, second: Floats, rank: float, replicates: int = REPLICATES, seed: int = SEED
) -> Interval:
    """Paired bootstrap of the difference of a percentile over utterances, second minus first, as its mean over runs.

    Args:
        first: (R, N), one number per run of the first system and utterance, N at least 1.
        second: (R, N), the second system's on the same utterances.
        rank: of the percentile, 0 to 100.
        replicates: number of resamples of utterances; a draw is the same in all runs of both systems.
        seed: of the resampling.
    """

    def difference(indices: NDArray[np.int64]) -> Floats:
        """(..., N) -> (...)"""
        of_first, of_second = (np.percentile(values[:, indices], rank, axis=-1) for values in (first, second))
        return np.asarray((of_second - of_first).mean(axis=0))

    num = first.shape[1]
    drawn = np.concatenate([difference(indices) for indices in _draws(num, replicates, seed)])
    return _interval(float(difference(np.arange(num))), drawn)
