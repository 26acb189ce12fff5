"""Hotwords: the automaton against a plain search of all suffixes, and what they do to a search."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from small_networks import random_frames, search_parts

from dualtk.errors import InputError
from dualtk.search.beam import BeamSearch
from dualtk.search.fusion import Fusion, WeightedModel
from dualtk.search.greedy import GreedySearch
from dualtk.search.hotwords import Hotword, Hotwords, parse_hotwords
from dualtk.search.whole import search_frames

V = 7


def earned(words: Hotwords, tokens: list[int]) -> float:
    """What a finished sequence has in all."""
    state, total = words.start(), 0.0
    for token in tokens:
        total += float(words.scores([state])[0, token])
        (state,) = words.advance([state], [token])
    return total + words.final([state])[0]


def test_a_complete_hotword_keeps_its_reward_and_a_beginning_does_not() -> None:
    words = Hotwords([Hotword((1, 2, 3), 1.0), Hotword((4, 5), 0.5)], V)
    assert earned(words, [1, 2, 3]) == 3.0
    assert earned(words, [1, 2]) == 0.0
    assert earned(words, [1, 2, 6]) == 0.0
    assert earned(words, [6, 1, 2, 3, 6, 4, 5]) == 4.0
    assert earned(words, [1, 1, 2, 3]) == 3.0  # the second 1 is the beginning
    assert earned(words, [1, 2, 4, 5]) == 1.0


def test_hotwords_inside_and_over_each_other() -> None:
    assert earned(Hotwords([Hotword((1, 2, 3), 1.0), Hotword((2,), 1.0)], V), [1, 2, 6]) == 1.0
    assert earned(Hotwords([Hotword((1, 2), 1.0), Hotword((1, 2, 3, 4), 1.0)], V), [1, 2, 3, 6]) == 2.0
    assert earned(Hotwords([Hotword((1, 2), 1.0), Hotword((1, 2, 3, 4), 1.0)], V), [1, 2, 3, 4]) == 4.0
    assert earned(Hotwords([Hotword((1, 2), 1.0), Hotword((2, 3), 1.0)], V), [1, 2, 3]) == 4.0


@pytest.mark.parametrize("seed", range(20))
def test_the_state_is_the_longest_beginning_that_the_labels_end_with(seed: int) -> None:
    chance = random.Random(seed)
    hotwords = [tuple(chance.choices(range(1, 4), k=chance.randint(1, 5))) for _ in range(6)]
    words = Hotwords([Hotword(one, 1.0) for one in hotwords], V)
    beginnings = {word[:end] for word in hotwords for end in range(len(word) + 1)}
    known = {(): 0}
    state, labels = 0, []
    for _ in range(200):
        labels.append(chance.randint(1, 4))
        (state,) = words.advance([state], labels[-1:])
        longest = next(tuple(labels[i:]) for i in range(len(labels) + 1) if tuple(labels[i:]) in beginnings)
        assert known.setdefault(longest, state) == state
    assert len(set(known.values())) == len(known)


def reward(words: Hotwords, state: int, token: int) -> float:
    """What `token` earns after `state`, by walking to the node that it goes on from."""
    nodes, source = words._nodes, state
    while source and token not in nodes[source].children:
        source = nodes[source].fallback
    child = nodes[source].children.get(token)
    given = 0.0 if child is None else nodes[child].reward
    return nodes[source].open - nodes[state].open + given


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_rewards(seed: int) -> None:
    chance = random.Random(seed)
    hotwords = {tuple(chance.choices(range(1, 4), k=chance.randint(1, 5))): chance.random() for _ in range(8)}
    words = Hotwords([Hotword(*one) for one in hotwords.items()], V)
    for state in range(len(words._nodes)):
        row = words.scores([state])[0].tolist()
        assert row == pytest.approx([0.0] + [reward(words, state, token) for token in range(1, V)], abs=1e-6)


@pytest.mark.parametrize("beam", [0, 1, 4])
def test_a_search_finds_more_of_what_it_prefers(beam: int) -> None:
    predictor, joiner = search_parts()
    frames, lengths = random_frames()
    word = (3, 4)

    def found(reward: float) -> list[list[int]]:
        words = Hotwords([Hotword(word, reward)], V)
        search = BeamSearch(predictor, joiner, beam, fusion=Fusion([WeightedModel(words, 1.0)])) if beam else None
        greedy = GreedySearch(predictor, joiner, hotwords=words)
        return [nbest[0].tokens for nbest in search_frames(search or greedy, frames, lengths)]

    def count(reward: float) -> int:
        return sum(pair == word for tokens in found(reward) for pair in pairwise(tokens))

    without = GreedySearch(predictor, joiner) if not beam else BeamSearch(predictor, joiner, beam)
    assert found(0.0) == [nbest[0].tokens for nbest in search_frames(without, frames, lengths)]
    assert count(0.0) < count(4.0)


def test_a_greedy_stream_goes_on_within_a_hotword() -> None:
    predictor, joiner = search_parts()
    frames, lengths = random_frames()
    search = GreedySearch(predictor, joiner, hotwords=Hotwords([Hotword((3, 4, 2), 3.0)], V))
    (expected,) = search.start(1)
    search.advance(frames[:1], lengths[:1], [expected])
    (stream,) = search.start(1)
    for t in range(int(lengths[0])):
        search.advance(frames[:1, t : t + 1], torch.ones(1, dtype=torch.int64), [stream])
        stream = search.restore(search.save(stream))
    assert stream.hypothesis.tokens == expected.hypothesis.tokens
    assert stream.preferred == expected.preferred


def spell(text: str) -> list[int]:
    return [2 + "ABCD ".index(letter) if letter in "ABCD " else 1 for letter in text]


def test_lines_of_hotwords() -> None:
    assert parse_hotwords(["AB :2.5", "", "CD", "A B"], spell, 1.5, "x") == [
        Hotword((2, 3), 2.5),
        Hotword((4, 5), 1.5),
        Hotword((2, 6, 3), 1.5),
    ]
    for line, words in (("AB :much", "x:1: much is no number"), ("AXB", "x:1: AXB: the network has no tokens")):
        with pytest.raises(InputError, match=words):
            parse_hotwords([line], spell, 1.5, "x")
