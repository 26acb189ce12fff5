"""A collapse is said once, and again only after a recovery."""

from __future__ import annotations

import logging

import pytest

from dualtk.ssl.collapse import CollapseWatch


def test_a_collapse_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(entries=64, patience=3)
    with caplog.at_level(logging.WARNING, logger="dualtk"):
        said = [watch.watch(value, 100 * i) for i, value in enumerate([30.0, 1.9, 1.5, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0])]
    assert said == [False] * 6 + [True] * 3
    (line,) = caplog.messages
    found = "step 600: the codebook has collapsed: a group's perplexity is 1.00, below 2 for 3 validations in a row"
    assert line.startswith(found)


def test_another_collapse_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(entries=320, patience=1)
    with caplog.at_level(logging.WARNING, logger="dualtk"):
        for step, value in enumerate([3.0, 9.9, 10.0, 1.5]):
            watch.watch(value, step)
    assert [line.split(":")[0] for line in caplog.messages] == ["step 0", "step 3"]
