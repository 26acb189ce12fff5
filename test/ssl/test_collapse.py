"""A collapse is said once, and again only after a recovery."""

from __future__ import annotations

from dualtk.ssl.collapse import CollapseWatch


def test_a_collapse_is_said_once() -> None:
    watch = CollapseWatch(entries=64, patience=3)
    said = [watch.watch(value, 100 * i) for i, value in enumerate([30.0, 1.9, 1.5, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0])]
    assert [len(lines) for lines in said] == [0] * 6 + [1] + [0] * 2
    expected = "step 600: the codebook has collapsed: a group's perplexity is 1.00, below 2 for 3 validations in a row"
    assert said[6][0].startswith(expected)


def test_another_collapse_is_said_again() -> None:
    watch = CollapseWatch(entries=320, patience=1)
    lines = [line for step, value in enumerate([3.0, 9.9, 10.0, 1.5]) for line in watch.watch(value, step)]
    assert [line.split(":")[0] for line in lines] == ["step 0", "step 3"]
