"""When a set's figures mean little: one text for all utterances, or hardly a word that is right."""

from __future__ import annotations

from dualtk.score.diagnosis import warnings
from dualtk.score.wer import ScoredUtterance, score_utterance

REFS = [f"SAY THE WORD {word}" for word in ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"]]


def scored(refs: list[str], hyps: list[str]) -> list[ScoredUtterance]:
    pairs = enumerate(zip(refs, hyps))
    return [score_utterance(f"s-{index}", "s", ref, hyp) for index, (ref, hyp) in pairs]


def test_one_word_for_everything_is_said_with_its_share() -> None:
    lines = warnings(scored(REFS, ["THE"] * 9 + REFS[9:]))
    assert lines[0] == "says `the` for 75 % of the utterances, which is right for none"
    assert "train.log" in lines[-1]


def test_silence_is_said_too() -> None:
    lines = warnings(scored(REFS, [""] * 12))
    assert lines[0].startswith("says nothing for 100 % of the utterances")
    assert lines[1] == "100 % of the words are wrong or missing"


def test_different_texts_that_are_all_wrong() -> None:
    lines = warnings(scored(REFS, [f"NO {index}" for index in range(12)]))
    assert lines[0] == "100 % of the words are wrong or missing"


def test_a_network_that_works_or_a_command_that_is_often_said_is_no_fault() -> None:
    assert warnings(scored(REFS, [ref.replace("WORD", "WARD") for ref in REFS])) == []
    assert warnings(scored(["YES"] * 8 + ["NO"] * 4, ["YES"] * 10 + ["NO"] * 2)) == []


def test_of_a_handful_nothing_is_said() -> None:
    assert warnings(scored(REFS[:5], ["THE"] * 5)) == []
