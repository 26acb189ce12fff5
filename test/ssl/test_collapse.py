"""A collapse is said once, and again only after a recovery."""

from __future__ import annotations

import logging

import pytest

from dualtk.ssl.collapse import CollapseWatch


def test_a_collapse_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(groups=2, patience=3)
    with caplog.at_level(logging.WARNING, logger="dualtk"):
        said = [watch.watch(value, 100 * i) for i, value in enumerate([300.0, 3.9, 2.5, 4.0, 3.0, 2.0, 2.0, 2.0, 2.0])]
    assert said == [False] * 6 + [True] * 3
    (line,) = caplog.messages
    assert line.startswith("step 600: the codebook has collapsed: perplexity 2.00, below 4 for 3 validations in a row")


def test_another_collapse_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch(groups=1, patience=1)
    with caplog.at_level(logging.WARNING, logger="dualtk"):
        for step, value in enumerate([1.0, 1.0, 5.0, 1.5]):
            watch.watch(value, step)
    assert [line.split(":")[0] for line in caplog.messages] == ["step 0", "step 3"]
