"""Errors by length, frequent errors, settings, worst utterances: all against small cases by hand."""

from __future__ import annotations

from dualtk.analysis.errors import errors_by_length, frequent_errors, length_bins
from dualtk.analysis.settings import differences
from dualtk.analysis.worst import Sound, marked, utterance_block, worst_utterances
from dualtk.score.wer import ScoredUtterance, score_all, total

REFS = {f"s-{index}": " ".join(["a"] * index) for index in range(1, 13)}
HYPS = {name: " ".join(["a"] * (len(words.split()) - 1)) for name, words in REFS.items()}


def scored(refs: dict[str, str], hyps: dict[str, str]) -> list[ScoredUtterance]:
    return score_all(refs, hyps, dict.fromkeys(refs, "s"))


def test_bins_hold_every_utterance_once() -> None:
    utterances = scored(REFS, HYPS)
    bins = length_bins(utterances, 4)
    assert [(each.shortest, each.longest, each.num) for each in bins] == [(1, 4, 4), (5, 7, 3), (8, 10, 3), (11, 12, 2)]
    assert total(each.counts for each in bins) == total(each.words for each in utterances)
    assert bins[0].counts.rate == 4 / 10


def test_bins_of_equal_or_no_lengths() -> None:
    assert [each.num for each in length_bins(scored({"s-1": "a", "s-2": "b"}, {}))] == [2]
    assert length_bins(scored({"s-1": ""}, {})) == []
    assert errors_by_length({"x": []}).table.rows == []


def test_frequent_errors_of_two_systems() -> None:
    refs = {"s-1": "a b c", "s-2": "a b"}
    first, second = scored(refs, {"s-1": "a x c", "s-2": "a x"}), scored(refs, {"s-1": "a x c d", "s-2": "b"})
    table = frequent_errors({"first": first, "second": second})
    assert table.header == ["error", "words", "times", "first", "second"]
    assert table.rows[0] == ["substitution", "b → x", 3, 2, 1]
    assert ["deletion", "a", 1, 0, 1] in table.rows
    assert ["insertion", "d", 1, 0, 1] in table.rows


def test_settings_differ() -> None:
    first = {"a.b": "1", "a.c": "[1, 2]", "e": "{}"}
    second = {**first, "a.b": "2", "new": "x"}
    assert differences([first, second]) == [("a.b", ["1", "2"]), ("new", ["-", "x"])]
    assert differences([first, first]) == []


def test_worst_utterances_come_first_and_right_ones_not_at_all() -> None:
    systems = {"x": {each.utterance: each for each in scored(REFS, {**REFS, "s-3": "", "s-9": "a"})}}
    assert worst_utterances(systems, 5) == ["s-9", "s-3"]
    assert worst_utterances(systems, 1) == ["s-9"]


def test_marks_and_markup() -> None:
    (one,) = scored({"s-1": "a <b> c d"}, {"s-1": "a x c d e"})
    assert marked(one.pairs) == "a <del>&lt;b&gt;</del> <ins>x</ins> c d <ins>e</ins>"
    block = utterance_block("s-1", {"<full>": {"s-1": one}}, Sound("data:audio/flac;base64,AA"))
    assert "&lt;full&gt; (2 of 4)" in block
    assert block.count("<audio ") == 1
    assert "<audio" not in utterance_block("s-1", {"full": {"s-1": one}}, None)
