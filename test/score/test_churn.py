from __future__ import annotations

import pytest

from dualtk.score.churn import Churn, Partial, churn, taken_back


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("", "a", 0),
        ("a b", "a b c", 0),
        ("a b", "a bc d", 0),  # the last word grew
        ("a b c", "a x c", 2),
        ("a b", "a", 1),
        ("a b", "ab", 2),  # a joined with b: the first word changed, and it was not the last
        ("a", "", 1),
    ],
)
def test_words_taken_back(before: str, after: str, words: int) -> None:
    assert taken_back(before.split(), after.split()) == words


def test_churn_of_a_session() -> None:
    texts = ["play", "play the", "play a", "play a so", "play a song", "play some songs"]
    found = churn([Partial(0.1 * index, text) for index, text in enumerate(texts)])
    assert found == Churn(unstable_words=3, revisions=2, final_words=3, settled=pytest.approx(0.5))
    assert found.ratio == 1.0


def test_a_session_that_only_grows_has_no_churn() -> None:
    found = churn([Partial(0.1, "a"), Partial(0.2, "a b"), Partial(0.3, "a b")])
    assert (found.unstable_words, found.revisions, found.settled, found.ratio) == (0, 0, None, 0.0)
    assert churn([]).ratio == 0.0
