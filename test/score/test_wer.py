"""Counts against kaldialign and by hand; intervals against kaldialign's and against theory."""

from __future__ import annotations

import math
import random

import kaldialign
import numpy as np
import pytest

from dualtk.errors import InputError
from dualtk.score.align import Pair, align
from dualtk.score.bootstrap import compare, rate_interval, statistic_interval
from dualtk.score.wer import Counts, character_counts, missing_utterances, score_all, score_utterance, total
from dualtk.trn import trn_id, trn_text


def test_alignment_by_hand() -> None:
    assert align(list("abc"), list("axcd")) == [
        Pair("a", "a"),
        Pair("b", "x"),
        Pair("c", "c"),
        Pair(None, "d"),
    ]
    assert align([], ["a"]) == [Pair(None, "a")]
    assert align(["a"], []) == [Pair("a", None)]
    assert align([], []) == []


def test_alignment_costs_as_much_as_kaldialigns() -> None:
    generator = random.Random(0)
    for _ in range(300):
        ref, hyp = ([generator.choice("abcd") for _ in range(generator.randint(0, 9))] for _ in range(2))

        def cost(pairs: list[tuple[str, str]]) -> int:
            return sum(0 if a == b else 3 if "*" in (a, b) else 4 for a, b in pairs)

        pairs = align(ref, hyp)
        ours = [(pair.ref or "*", pair.hyp or "*") for pair in pairs]
        assert cost(ours) == cost(kaldialign.align(ref, hyp, "*", sclite_mode=True))
        assert [pair.ref for pair in pairs if pair.ref] == ref
        assert [pair.hyp for pair in pairs if pair.hyp] == hyp


def test_counts_add_up() -> None:
    counts = total([Counts(3, 1, 0, 2), Counts(1, 0, 4, 0)])
    assert counts == Counts(4, 1, 4, 2)
    assert (counts.reference, counts.hypothesis, counts.errors, counts.rate) == (9, 7, 7, 7 / 9)
    assert math.isnan(Counts(insertions=2).rate)


def test_case_does_not_count_and_apostrophes_do() -> None:
    scored = score_utterance("s-1", "s", "It's A dog", "IT'S a DOG")
    assert scored.words == Counts(3)
    assert scored.characters == Counts(10)
    assert score_utterance("s-1", "s", "it's", "its").words == Counts(substitutions=1)


def test_characters_count_the_space_between_words() -> None:
    assert character_counts("a b", "ab") == Counts(2, 0, 1, 0)


def test_missing_hypothesis_is_all_deletions() -> None:
    scored = score_all({"s-1": "a b", "s-2": "c"}, {"s-2": "c"}, {"s-1": "s", "s-2": "s"})
    assert [each.words for each in scored] == [Counts(deletions=2), Counts(1)]
    assert missing_utterances({"a": "", "b": ""}, {"b": "x"}, "text") == ["a"]


def test_unknown_hypothesis_is_refused() -> None:
    with pytest.raises(InputError, match=r"exp/x/text: utterance s-3 has no reference"):
        score_all({"s-1": "a"}, {"s-3": "a"}, {"s-1": "s"}, "exp/x/text")


def test_trn_ids_name_the_speaker() -> None:
    assert trn_id("4088-158077-0001", "4088") == "4088-158077-0001"
    assert trn_id("george_01", "george") == "george-george_01"
    assert trn_text({"g-1": " A  B "}, {"g-1": "g", "g-2": "g"}, ["g-1", "g-2"]) == "A B (g-1)\n(g-2)\n"
    with pytest.raises(InputError, match="g\\(1\\)"):
        trn_id("g(1)", "g")


def random_errors(num: int, seed: int) -> tuple[list[int], list[int]]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(3, 20, num)
    return [int(x) for x in generator.binomial(sizes, 0.2)], [int(x) for x in sizes]


def test_interval_agrees_with_kaldialigns() -> None:
    errors, sizes = random_errors(200, 1)
    refs = [["a"] * size for size in sizes]
    hyps = [["b"] * wrong + ["a"] * (size - wrong) for wrong, size in zip(errors, sizes)]
    theirs = kaldialign.bootstrap_wer_ci(refs, hyps, replications=4000)
    ours = rate_interval(errors, sizes, replicates=4000)
    assert ours.value == pytest.approx(sum(errors) / sum(sizes))
    assert ours.low == pytest.approx(theirs["ci95min"], abs=2e-3)
    assert ours.high == pytest.approx(theirs["ci95max"], abs=2e-3)
    assert rate_interval(errors, sizes) == rate_interval(errors, sizes)


def test_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    interval = statistic_interval(values, lambda x: x.mean(axis=-1), replicates=4000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_paired_comparison_is_sharper_than_two_intervals() -> None:
    errors, sizes = random_errors(300, 2)
    better = [max(0, wrong - (index % 5 == 0)) for index, wrong in enumerate(errors)]
    comparison = compare(errors, better, sizes)
    assert comparison.probability == 1.0
    assert comparison.difference.high < 0
    single = rate_interval(errors, sizes)
    assert comparison.difference.high - comparison.difference.low < single.high - single.low
    assert compare(errors, errors, sizes).probability == 0.0
