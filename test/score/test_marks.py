"""sclite's marks by hand; against the real sclite they are in test_sclite."""

from __future__ import annotations

import random
import time

import pytest

from dualtk.score.align import align
from dualtk.score.marks import has_marks, is_unclear
from dualtk.score.wer import Counts, score_utterance


@pytest.mark.parametrize(
    ("ref", "hyp", "words"),
    [
        ("{ gonna / going to } go", "going to go", Counts(3)),
        ("{gonna/going to} go", "gonna go", Counts(2)),
        ("{ i { am / will be } / im } late", "I WILL BE LATE", Counts(4)),
        ("a (uh) b", "a b", Counts(3)),
        ("a (uh) b", "a uh b", Counts(3)),
        ("a (uh) b", "a um b", Counts(2, 1)),
        ("a @ b", "a b", Counts(2)),
        ("{ so / @ } yes", "yes", Counts(1)),
        ("well* yes", "well yes", Counts(2)),
        ("{ a / b", "a b", Counts(2, 0, 2)),
        ("{ } a", "a", Counts(1, 0, 2)),
        ("it}s a{b", "its ab", Counts(0, 2)),
    ],
)
def test_marks(ref: str, hyp: str, words: Counts) -> None:
    assert score_utterance("s-1", "s", ref, hyp).words == words


def test_characters_are_those_of_the_alternative_that_was_said() -> None:
    assert score_utterance("s-1", "s", "{ gonna / going to } (uh) go", "going to go").characters == Counts(11)
    assert score_utterance("s-1", "s", "a (uh) b", "a uh b").characters == Counts(6)


def test_what_is_said_of_a_text() -> None:
    assert [has_marks(text) for text in ("a b", "a (b)", "{a/b}", "@", "a*", "* a", "(a b)")] == [
        *(False, True, True, True, True, False, False)
    ]
    assert [is_unclear(text) for text in ("a b", "{ a / b }", "{ a", "a;b", "a\\b", "a {b}c d", "{ { a }")] == [
        *(False, False, True, True, True, False, True)
    ]


@pytest.mark.slow
def test_braces_beyond_a_depth_are_words() -> None:
    deep = ["{"] * 3000 + ["a"] + ["}"] * 3000
    assert [pair.kind for pair in align(deep, ["a"])].count("C") == 1
    assert len(align(["{"] * 9000, ["{"] * 9000)) == 9000


@pytest.mark.slow
def test_hours_of_speech_are_aligned_in_little_time_and_memory() -> None:
    """The whole table of 25,000 by 25,000 costs would take gigabytes, and minutes in the interpreter."""
    generator = random.Random(0)
    ref = [str(generator.randrange(2000)) for _ in range(25_000)]
    hyp = [word if generator.random() > 0.1 else "x" for word in ref if generator.random() > 0.03]
    align(ref[:9], hyp[:9])  # compiled now, if never before
    began = time.process_time()
    pairs = align(ref, hyp)
    assert time.process_time() - began < 5  # one second on a core of its own
    kinds = [pair.kind for pair in pairs]
    assert kinds.count("D") - kinds.count("I") == len(ref) - len(hyp)
    assert kinds.count("S") + kinds.count("D") + kinds.count("I") == pytest.approx(0.13 * len(ref), rel=0.05)


@pytest.mark.parametrize("far", [0, 100, 1000])
def test_a_path_far_from_the_diagonal_is_found(far: int) -> None:
    """What was said once is recognised at another place: the cheapest alignment leaves the band that is tried first."""
    words = [str(number) for number in range(2000)]
    hyp = words[far:] + ["x"] * far
    kinds = [pair.kind for pair in align(words, hyp)]
    assert (kinds.count("C"), kinds.count("D"), kinds.count("I")) == (2000 - far, far, far)
