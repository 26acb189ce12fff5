"""What the folder of a decoding says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.score.summary import SetScore


@pytest.mark.parametrize(
    ("folder", "mode", "asked", "label"),
    [
        ("test-streaming", "streaming", "streaming", "streaming"),
        ("test-streaming@4", "streaming", "streaming@4", "streaming@4"),
        ("test-streaming@2-32", "streaming", "streaming@2-32", "streaming@2-32"),
        ("test-streaming@2-all-beam4", "streaming", "streaming@2-all", "streaming@2-all beam4"),
        ("test_a-full-beam4", "full", "full", "full beam4"),
        ("full-full-full", "full", "full", "full"),
        ("test-int8-streaming", "streaming", "streaming", "streaming"),
        ("elsewhere", "full", "full", "full"),
    ],
)
def test_mode_and_search_of_a_folder(folder: str, mode: str, asked: str, label: str) -> None:
    one = SetScore(Path("exp/decode") / folder, "test", mode, {})
    assert (one.asked, one.label) == (asked, label)
