"""The table of `dualtk ablate`: each system against the first, and how it is written."""

from __future__ import annotations

import numpy as np
import pytest

from dualtk.bin.ablation.against import Lines, against, errors_by_utterance
from dualtk.bin.ablation.comparison import COLUMNS, Failure, Row, Spread, cells, change, remarks, table
from dualtk.score.bootstrap import Interval, compare
from dualtk.score.utterances import UtteranceLine
from dualtk.score.wer import Counts, ScoredUtterance


def lines(**utterances: tuple[int, int, float | None]) -> Lines:
    """Errors, reference words and latency by utterance."""
    return [
        UtteranceLine(ScoredUtterance(name, name, "s", (), Counts(words - errors, errors), Counts()), latency)
        for name, (errors, words, latency) in utterances.items()
    ]


def row(system: str, seeds: list[int], latency: Spread | None) -> Row:
    first = {1: lines(a=(3, 6, 0.1), b=(0, 4, 0.2))}
    other = {1: lines(a=(1, 6, 0.1), b=(1, 4, 0.1))}
    return Row(
        "test", "streaming", system, seeds, Spread(0.0421, 0.001), latency, None, against(first, other), 30_712_345
    )


def test_a_row_is_written_as_it_is_read() -> None:
    one = row("b", [1, 2], Spread(-0.05, 0.0))
    assert one.against_first is not None
    difference, relative = one.against_first.wer.difference, one.against_first.relative
    assert relative is not None
    assert cells(one, [1, 2]) == [
        "test",
        "streaming",
        "b",
        "4.21 ± 0.10",
        f"-10.00 [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]",
        f"-33.3 [{100 * relative.low:+.1f}, {100 * relative.high:+.1f}]",
        "-50 ± 0",
        "-50 [-100, +0]",
        "-",
        "-90 [-100, +0]",
        "30.71 M",
    ]
    assert len(cells(one, [1, 2])) == len(COLUMNS)
    assert change(Interval(-0.0001, -0.0004, 0.0004), 1000, 0) == "+0 [+0, +0]"


def test_what_the_table_lacks_is_said() -> None:
    assert "| b (seed 2) |" in table([row("b", [2], None)], [1, 2])
    assert "| b (seeds 1 3) |" in table([row("b", [1, 3], None)], [1, 2, 3])
    assert "(seed" not in table([row("b", [1, 2], None)], [1, 2])
    assert remarks([Failure("b", 1, "x: y")]).endswith("not in the table:\n\n- b, seed 1: x: y\n")
    assert "failed" not in remarks([])


def test_pairs_are_utterances_with_their_errors_under_every_seed() -> None:
    first = {1: lines(a=(2, 3, None), b=(0, 2, None)), 2: lines(a=(0, 3, None), b=(0, 2, None))}
    other = {1: lines(b=(1, 2, None), a=(0, 3, None)), 2: lines(b=(0, 2, None), a=(1, 3, None))}
    assert errors_by_utterance(first.values()) == {"a": (2, 6), "b": (0, 4)}
    found = against(first, other)
    assert found is not None
    assert found.wer == compare([2, 0], [1, 1], [6, 4])
    assert found.relative is not None
    assert found.relative.value == 0.0
    assert (found.latency_at50, found.latency_at90) == (None, None)


def test_latency_is_compared_where_every_run_of_both_has_one() -> None:
    """Of c the first system lacks one, of d the other; the difference is that of means over seeds of percentiles."""
    first = {
        1: lines(a=(0, 1, 0.1), b=(0, 1, 0.2), c=(0, 1, None), d=(0, 1, 9.0)),
        2: lines(a=(0, 1, 0.3), b=(0, 1, 0.1), c=(0, 1, 7.0), d=(0, 1, 9.0)),
    }
    other = {
        1: lines(a=(0, 1, 0.0), b=(0, 1, 0.1), c=(0, 1, 7.0), d=(0, 1, 9.0)),
        2: lines(a=(0, 1, 0.2), b=(0, 1, 0.2), c=(0, 1, 7.0), d=(0, 1, None)),
    }
    found = against(first, other)
    assert found is not None
    assert found.relative is None  # the first makes no error
    for rank, interval in ((50, found.latency_at50), (90, found.latency_at90)):
        expected = np.percentile([[0.0, 0.1], [0.2, 0.2]], rank, axis=1) - np.percentile(
            [[0.1, 0.2], [0.3, 0.1]], rank, axis=1
        )
        assert interval is not None
        assert interval.value == pytest.approx(expected.mean())


def test_only_seeds_of_both_are_compared() -> None:
    first = {1: lines(a=(4, 4, 0.5)), 2: lines(a=(1, 4, 0.1))}
    found = against(first, {2: lines(a=(2, 4, 0.3)), 3: lines(a=(0, 4, 0.0))})
    assert found is not None
    assert found.wer.difference.value == 0.25
    assert found.relative is not None
    assert found.relative.value == 1.0
    assert found.latency_at50 is not None
    assert found.latency_at50.value == pytest.approx(0.2)
    assert against(first, {3: lines(a=(0, 4, 0.0))}) is None


def test_a_system_does_not_differ_from_itself() -> None:
    random = np.random.default_rng(0)
    same = {
        seed: lines(**{f"u{index}": (int(random.integers(5)), 9, float(random.normal())) for index in range(30)})
        for seed in (1, 2)
    }
    found = against(same, same)
    assert found is not None
    nothing = Interval(0.0, 0.0, 0.0)
    assert [found.wer.difference, found.relative, found.latency_at50, found.latency_at90] == [nothing] * 4
