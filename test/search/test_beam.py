"""Beam search against greedy search, the sum over all paths, and torchaudio's."""

from __future__ import annotations

import importlib.util
import io
import itertools
from pathlib import Path

import pytest
import torch
from peers import torchaudio
from small_networks import MELS, RATE, random_frames, search_parts, small_transducer, speech
from torch import Tensor

from dualtk.data.stream import FbankStream
from dualtk.modes import streaming
from dualtk.search.beam import BeamSearch
from dualtk.search.greedy import GreedySearch
from dualtk.search.hypothesis import Hypothesis, Limits
from dualtk.search.whole import search_frames
from dualtk.streaming.session import StreamingDecoder

ADAPTER = Path(__file__).resolve().parents[2] / "tools/bench/torchaudio_rnnt.py"


def networks():
    """Twelve pairs of predictor and joiner, from flat to sharp outputs, with their frames."""
    for seed in range(12):
        kind = "lstm" if seed % 2 else "stateless"
        parts = search_parts(kind, seed=seed, scale=(1.0, 2.0, 4.0)[seed % 3], blank_bias=(0.0, 1.5)[seed % 2])
        yield parts, random_frames(5, 21, seed)


@torch.no_grad()
def sum_over_paths(parts, frames: Tensor, hypothesis: Hypothesis) -> float:
    """Log-probability of a hypothesis, given one utterance (1, T, D), as torchaudio's loss computes it."""
    predictor, joiner = parts
    targets = torch.tensor([hypothesis.tokens], dtype=torch.int32)
    predicted = joiner.predictor(predictor(targets.long()))
    logits = joiner(joiner.encoder(frames).unsqueeze(2), predicted.unsqueeze(1))
    sizes = torch.tensor([frames.shape[1]], dtype=torch.int32), torch.tensor([targets.shape[1]], dtype=torch.int32)
    return -float(torchaudio.functional.rnnt_loss(logits, targets, *sizes, blank=0))


@pytest.mark.slow
def test_a_beam_of_one_is_greedy() -> None:
    for parts, (frames, lengths) in networks():
        for limits in (Limits(1), Limits(3), Limits(3, 4)):
            found = search_frames(BeamSearch(*parts, 1, limits), frames, lengths)
            search = GreedySearch(*parts, limits)
            streams = search.start(len(frames))
            search.advance(frames, lengths, streams)
            for (one,), expected in zip(found, (stream.hypothesis for stream in streams), strict=True):
                assert (one.tokens, one.frames) == (expected.tokens, expected.frames)
                assert one.score == pytest.approx(expected.score, abs=1e-4)
                assert one.log_probs == pytest.approx(expected.log_probs, abs=1e-4)


@pytest.mark.slow
def test_larger_beams_find_no_worse() -> None:
    gained = 0.0
    for parts, (frames, lengths) in networks():
        best = {
            beam: [one[0].score for one in search_frames(BeamSearch(*parts, beam), frames, lengths)]
            for beam in (1, 4, 6, 16)
        }
        for small, large in ((1, 4), (4, 16), (6, 16)):
            assert all(one <= other + 1e-5 for one, other in zip(best[small], best[large], strict=True))
        gained += sum(best[16]) - sum(best[4])
    assert gained > 0.5


@pytest.mark.parametrize("predictor", ["lstm", "stateless"])
def test_a_beam_of_everything_sums_over_all_paths(predictor: str) -> None:
    """With room for every prefix, the score of each is the exact log-probability that the loss computes."""
    torch.manual_seed(3)
    parts = search_parts(predictor, seed=3, scale=1.0, vocabulary=4)
    frames, _ = random_frames(1, 5, seed=3)
    search = BeamSearch(*parts, 200, Limits(4, 3))
    found = search_frames(search, frames, torch.tensor([5]))[0]
    assert len(found) == 1 + 3 + 9 + 27
    labels = [list(one) for size in range(4) for one in itertools.product((1, 2, 3), repeat=size)]
    assert sorted(one.tokens for one in found) == sorted(labels)
    for one in found:
        assert one.score == pytest.approx(sum_over_paths(parts, frames, one), abs=1e-4)
    assert found == sorted(found, key=lambda one: -one.score)


@pytest.mark.slow
def test_no_score_exceeds_the_sum_over_all_paths() -> None:
    """A beam sums over the paths that it kept; here these have nearly all of the probability."""
    missing = []
    for parts, (frames, lengths) in networks():
        for row, found in enumerate(search_frames(BeamSearch(*parts, 4, Limits(20)), frames[:3], lengths[:3])):
            for one in found:
                missing.append(sum_over_paths(parts, frames[row : row + 1, : int(lengths[row])], one) - one.score)
    assert len(missing) == 12 * 3 * 4
    assert min(missing) >= -1e-3
    assert sum(missing) / len(missing) < 2.0


@pytest.mark.parametrize("max_symbols", [1, 3])
def test_its_score_is_that_of_torchaudio(max_symbols: int) -> None:
    assert torchaudio.models.RNNTBeamSearch  # else skipped before the adapter imports it
    spec = importlib.util.spec_from_file_location("torchaudio_rnnt", ADAPTER)
    assert spec is not None
    assert spec.loader is not None
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    for seed in range(4):
        parts = search_parts("lstm", seed=seed, scale=2.0, vocabulary=16)
        frames, lengths = random_frames(3, 12, seed)
        rows = [row[:length] for row, length in zip(frames, lengths.tolist()) if length]
        found = search_frames(BeamSearch(*parts, 4, Limits(max_symbols)), frames, lengths)
        theirs = adapter.torchaudio_search(*parts, rows, 4, max_symbols)
        assert [one[0].score for one in found[: len(rows)]] == pytest.approx([one.score for one in theirs], abs=1e-3)


@pytest.mark.parametrize("limits", [Limits(3), Limits(2, 7), Limits(1, 0)], ids=str)
def test_a_network_that_never_emits_blank_ends(limits: Limits) -> None:
    frames, lengths = random_frames(3, 11)
    for found in search_frames(BeamSearch(*search_parts(blank_bias=-1e4), 4, limits), frames, lengths):
        for one in found:
            most = 11 * limits.symbols_per_frame
            if limits.symbols_per_utterance is not None:
                most = min(most, limits.symbols_per_utterance)
            assert len(one.tokens) <= most


def test_nbest_lists_are_distinct_sorted_and_timed() -> None:
    frames, lengths = random_frames(4, 23)
    for found, length in zip(search_frames(BeamSearch(*search_parts(), 6), frames, lengths), lengths.tolist()):
        assert len({tuple(one.tokens) for one in found}) == len(found) == (6 if length else 1)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            assert len(one.frames) == len(one.tokens) == len(one.log_probs)
            assert one.frames == sorted(one.frames)
            assert all(0 <= frame < length for frame in one.frames)
            assert all(log_prob <= 0 for log_prob in one.log_probs)


@pytest.mark.parametrize("size", [1, 5, 23])
def test_chunks_equal_the_whole(size: int) -> None:
    parts = search_parts()
    frames, lengths = random_frames(4, 23)
    search = BeamSearch(*parts, 5)
    streams = search.start(4)
    for start in range(0, 23, size):
        search.advance(frames[:, start : start + size], (lengths - start).clamp(0, size), streams)
        file = io.BytesIO()
        torch.save([search.save(stream) for stream in streams], file)
        file.seek(0)
        streams = [search.restore(saved) for saved in torch.load(file, weights_only=True)]
    for stream, expected in zip(streams, search_frames(search, frames, lengths), strict=True):
        assert_same(search.nbest(stream), expected)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.tokens, one.frames) == (other.tokens, other.frames)
        assert one.score == pytest.approx(other.score, abs=1e-3)


def test_sessions_search_with_a_beam() -> None:
    network = small_transducer()
    mode = streaming(left_context=6, chunk=2)
    shared = StreamingDecoder(network, mode, BeamSearch(network.predictor, network.joiner, 4))
    sessions = [shared.open(FbankStream(MELS)) for _ in range(3)]
    for tick in range(6):
        for session in sessions[: tick + 1]:
            session.push(speech(1500, tick), RATE)
        shared.advance(sessions)
    for session in sessions:
        session.close()
    shared.advance(sessions)
    single = shared.open(FbankStream(MELS))
    for tick in range(6):
        single.accept(speech(1500, tick), RATE)
    single.finish()
    assert_same(sessions[0].nbest(), single.nbest())
    assert len(single.nbest()) == 4
    greedy_session = StreamingDecoder(network, mode, GreedySearch(network.predictor, network.joiner)).open(
        FbankStream(MELS)
    )
    for tick in range(6):
        greedy_session.accept(speech(1500, tick), RATE)
    assert single.best.score >= greedy_session.finish().score
