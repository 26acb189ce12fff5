"""Greedy search against one frame and one label at a time."""

from __future__ import annotations

import math

import pytest
import torch
from small_networks import random_frames, search_parts
from torch import Tensor

from dualtk.search.greedy import GreedySearch
from dualtk.search.hypothesis import Hypothesis, Limits, spoken_words
from dualtk.search.whole import search_frames
from dualtk.transducer.joiner import TanhJoiner


@torch.no_grad()
def one_at_a_time(
    predictor, joiner: TanhJoiner, frames: Tensor, length: int, max_symbols: int, max_length: int = 10**9
) -> Hypothesis:
    """Greedy search of one utterance (T, D) as its definition reads."""
    found = Hypothesis()
    output, state = predictor.step(torch.tensor([-1]), predictor.init_state(1))
    for t in range(length):
        for num_symbols in range(max_symbols + 1):
            logits = joiner(joiner.encoder(frames[t : t + 1]), joiner.predictor(output))
            log_probs = logits.log_softmax(-1)
            is_free = num_symbols < max_symbols and len(found.tokens) < max_length
            log_prob, token = log_probs.max(-1) if is_free else (log_probs[:, 0], torch.tensor([0]))
            found.score += float(log_prob)
            if int(token) == 0:
                break
            found.append(int(token), t, float(log_prob))
            output, state = predictor.step(token, state)
    return found


def assert_same(found: Hypothesis, expected: Hypothesis) -> None:
    assert (found.tokens, found.frames) == (expected.tokens, expected.frames)
    assert found.score == pytest.approx(expected.score, abs=1e-4)
    assert found.log_probs == pytest.approx(expected.log_probs, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("max_symbols", [1, 2, 5])
@pytest.mark.parametrize("predictor", ["lstm", "stateless"])
@pytest.mark.parametrize("seed", range(5))
def test_a_batch_equals_one_frame_at_a_time(seed: int, predictor: str, max_symbols: int) -> None:
    parts = search_parts(predictor, seed=seed)
    frames, lengths = random_frames(seed=seed)
    found = [one for (one,) in search_frames(GreedySearch(*parts, Limits(max_symbols)), frames, lengths)]
    assert sum(len(one.tokens) for one in found) > 5
    for row, one in enumerate(found):
        assert_same(one, one_at_a_time(*parts, frames[row], int(lengths[row]), max_symbols))


@pytest.mark.parametrize("max_length", [0, 3, 9])
def test_a_full_hypothesis_takes_blank_in_all_other_frames(max_length: int) -> None:
    parts = search_parts(seed=1)
    frames, lengths = random_frames(seed=1)
    search = GreedySearch(*parts, Limits(2, max_length))
    streams = search.start(len(frames))
    search.advance(frames, lengths, streams)
    found = [search.nbest(stream)[0] for stream in streams]
    assert max(len(one.tokens) for one in found) == max_length
    for row, one in enumerate(found):
        assert_same(one, one_at_a_time(*parts, frames[row], int(lengths[row]), 2, max_length))


@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_chunks_equal_the_whole(chunk: int) -> None:
    search = GreedySearch(*search_parts())
    frames, lengths = random_frames(frames=30)
    streams = search.start(4)
    for start in range(0, 30, chunk):
        search.advance(frames[:, start : start + chunk], (lengths - start).clamp(0, chunk), streams)
    for stream, (expected,) in zip(streams, search_frames(search, frames, lengths), strict=True):
        assert_same(search.nbest(stream)[0], expected)


@pytest.mark.parametrize("limits", [Limits(3), Limits(3, 7), Limits(1, 0)], ids=str)
def test_a_network_that_never_emits_blank_ends(limits: Limits) -> None:
    search = GreedySearch(*search_parts(blank_bias=-1e4), limits)
    frames, lengths = random_frames()
    streams = search.start(4)
    search.advance(frames, lengths, streams)
    for stream, length in zip(streams, lengths.tolist(), strict=True):
        expected = limits.symbols_per_frame * length
        if limits.symbols_per_utterance is not None:
            expected = min(expected, limits.symbols_per_utterance)
        assert len(stream.hypothesis.tokens) == expected
        assert all(math.isfinite(log_prob) for log_prob in stream.hypothesis.log_probs)


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 symbol"):
        Limits(0)


def test_words_have_times_and_confidence() -> None:
    pieces = ["<blk>", "<unk>", "▁HE", "LLO", "▁", "▁YOU"]
    found = Hypothesis([3, 2, 3, 4, 5, 4, 3], [1, 4, 4, 6, 7, 9, 9], [-1.0, -0.2, -0.4, -3.0, 0.0, -1.0, -2.0], -8.0)
    words = spoken_words(found, pieces, 0.5)
    assert [word.text for word in words] == ["LLO", "HELLO", "YOU", "LLO"]
    assert [(word.start, word.end) for word in words] == [(0.5, 1.0), (2.0, 2.5), (3.5, 4.0), (4.5, 5.0)]
    expected = [math.exp(-1.0), math.exp(-0.3), 1.0, math.exp(-1.5)]
    assert [word.confidence for word in words] == pytest.approx(expected)
    assert spoken_words(Hypothesis(), pieces, 0.5) == []
