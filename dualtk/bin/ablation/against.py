"""One system of `dualtk ablate` against another on the same set: the paired bootstrap over utterances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualtk.score.bootstrap import Comparison, Interval, compare, percentile_difference, relative_change
from dualtk.score.utterances import UtteranceLine

Lines = Sequence[UtteranceLine]  # the utterances of a set, decoded by one run
Delays = dict[str, list[float]]  # by utterance, under each seed


@dataclass(frozen=True)
class Against:
    """A system against the first one: rates as fractions, differences of latency in seconds.

    Attributes:
        wer: difference of the word error rates.
        relative: change of the word error rate as a fraction of the first one's; None where that is 0.
        latency_at50, latency_at90: None where there is no latency.
    """

    wer: Comparison
    relative: Interval | None
    latency_at50: Interval | None
    latency_at90: Interval | None


def errors_by_utterance(runs: Iterable[Lines]) -> dict[str, tuple[int, int]]:
    """Errors and reference words of each utterance, added up over seeds."""
    total: dict[str, tuple[int, int]] = {}
    for lines in runs:
        for line in lines:
            errors, words = total.get(line.scored.utterance, (0, 0))
            counts = line.scored.words
            total[line.scored.utterance] = (errors + counts.errors, words + counts.reference)
    return total


def delays_by_utterance(runs: Iterable[Lines]) -> Delays:
    """Delay of the last token under each seed, for utterances that have one under every seed."""
    by_seed = [{line.scored.utterance: line.latency for line in lines if line.latency is not None} for lines in runs]
    common = set.intersection(*(set(one) for one in by_seed))
    return {name: [one[name] for one in by_seed] for name in common}


def against(first: Mapping[int, Lines], other: Mapping[int, Lines]) -> Against | None:
    """Compare two systems by the seeds that both have; None where there is no such seed.

    Args:
        first: the first system's decoded utterances by seed.
        other: those of the other system, on the same set.
    """
    seeds = sorted(first.keys() & other.keys())
    if not seeds:
        return None
    before, after = ([lines[seed] for seed in seeds] for lines in (first, other))
    errors, other_errors = errors_by_utterance(before), errors_by_utterance(after)
    names = sorted(errors)
    words = [errors[name][1] for name in names]
    pair = [errors[name][0] for name in names], [other_errors[name][0] for name in names]
    at50, at90 = _latency(delays_by_utterance(before), delays_by_utterance(after))
    return Against(compare(*pair, words), relative_change(*pair), at50, at90)


def _latency(first: Delays, other: Delays) -> tuple[Interval | None, Interval | None]:
    """Difference of Latency@50 and Latency@90 over the utterances that both have."""
    names = sorted(first.keys() & other.keys())
    if not names:
        return None, None
    before, after = _matrix(first, names), _matrix(other, names)
    return percentile_difference(before, after, 50.0), percentile_difference(before, after, 90.0)


def _matrix(delays: Delays, names: Sequence[str]) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = np.array([delays[name] for name in names]).T  # (N, seeds) -> (seeds, N)
    return matrix
