"""Latencies against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dualtk.ctm import Word
from dualtk.score.endpoints import Endpoints
from dualtk.score.latency import LatencyReport, emission_time, latency_report, utterance_latencies
from dualtk.score.read import Emissions
from dualtk.score.wer import score_all


@pytest.mark.parametrize(
    ("frame", "subsampling", "chunk", "look_ahead", "expected"),
    [
        (0, 1, 1, 0, 0.0175),  # feature frame 0 alone
        (0, 4, 1, 0, 0.0475),  # feature frames 0-3: 30 ms + 17.5 ms
        (12, 4, 1, 0, 0.5275),  # up to feature frame 51
        (12, 4, 1, 6, 0.5875),  # 60 ms later
        (12, 4, 4, 0, 0.6475),  # chunk 12-15, up to feature frame 63
        (15, 4, 4, 0, 0.6475),  # the last frame of that chunk is emitted with it
        (16, 4, 4, 0, 0.8075),  # the next chunk, up to feature frame 79
        (15, 4, 4, 6, 0.7075),
        (15, 8, 2, 3, 1.3175),  # chunk 14-15, up to feature frame 127, plus 3
        (3, 6, 1, 0, 0.2475),
        (100, 4, 1, 0, 2.0),  # beyond the audio: the flush
        (3, 4, None, 0, 2.0),  # full context: at the end
    ],
)
def test_emission_time_by_hand(
    frame: int, subsampling: int, chunk: int | None, look_ahead: int, expected: float
) -> None:
    assert emission_time(frame, subsampling, chunk, look_ahead, 2.0) == pytest.approx(expected, abs=1e-12)


def test_a_frame_of_samples_reaches_to_its_own_end() -> None:
    assert emission_time([0, 3], 4, 2, 0, 9.0, reach=0.010) == pytest.approx([0.08, 0.16], abs=1e-12)


def test_emission_times_keep_their_shape() -> None:
    times = emission_time([[0, 1], [2, 3]], 4, 2, 0, 9.0)
    assert np.allclose(times, [[0.0875, 0.0875], [0.1675, 0.1675]])


def stub(frames: dict[str, list[int]], chunk: int, look_ahead: int) -> dict[str, Emissions]:
    """A model that emits the tokens of A B at given frames of 40 ms, in two seconds of audio."""
    tokens = ("▁A", "▁B")
    return {
        utt: Emissions(tokens[: len(at)], tuple(emission_time(at, 4, chunk, look_ahead, 2.0)), 2.0)
        for utt, at in frames.items()
    }


FRAMES = {"s-1": [10, 20], "s-2": [10, 24], "s-3": [10, 28], "s-4": []}
HYPS = {"s-1": "A B", "s-2": "A B", "s-3": "A B", "s-4": ""}
REFS = {"s-1": "A B", "s-2": "A B", "s-3": "A C", "s-4": "A B"}
WORDS = {utt: [Word("A", 0.2, 0.5), Word(REFS[utt][-1], 0.6, 1.0)] for utt in REFS}
ENDS = {utt: Endpoints(0.2, 1.0) for utt in REFS}


def report(chunk: int, look_ahead: int) -> LatencyReport:
    scored = score_all(REFS, HYPS, dict.fromkeys(REFS, "s"))
    return latency_report(scored, stub(FRAMES, chunk, look_ahead), ENDS, "ctm", WORDS)


# Last tokens at frames 20, 24, 28: 0.8475, 1.0075 and 1.1675 s without chunk or look-ahead; speech ends at 1 s.
# In chunks of 8 these are frames 23, 31, 31: 0.9675, 1.2875 and 1.2875 s.
@pytest.mark.parametrize(
    ("chunk", "look_ahead", "at50_all", "at50_right", "first"),
    [(1, 0, 0.0075, -0.0725, 0.2475), (1, 6, 0.0675, -0.0125, 0.3075), (8, 0, 0.2875, 0.1275, 0.4475)],
)
def test_latencies_of_a_stub_are_those_worked_out_by_hand(
    chunk: int, look_ahead: int, at50_all: float, at50_right: float, first: float
) -> None:
    found = report(chunk, look_ahead)
    assert found.all is not None
    assert found.last_word_right is not None
    assert found.first_token is not None
    assert (found.all.num, found.last_word_right.num, found.silent, found.unknown_end) == (3, 2, 1, 0)
    assert found.all.at50.value == pytest.approx(at50_all)
    assert found.last_word_right.at50.value == pytest.approx(at50_right)
    assert found.first_token.at50.value == pytest.approx(first)


def test_latency_at_90_interpolates_and_lies_in_its_interval() -> None:
    found = report(1, 0).all
    assert found is not None
    assert found.at90.value == pytest.approx(0.0075 + 0.8 * 0.16)
    assert found.at90.low <= found.at90.value <= found.at90.high


def test_word_delays_are_of_correct_words_only() -> None:
    found = report(1, 0).words
    assert found is not None
    # A is emitted at 0.4475 s and ends at 0.5 s (three times); B right in s-1 and s-2
    delays = [-0.0525] * 3 + [-0.1525, 0.0075]
    assert found.num == 5
    assert found.median == pytest.approx(-0.0525)
    assert found.percentile90 == pytest.approx(np.percentile(delays, 90))
    assert found.histogram_start == pytest.approx(-0.2)
    assert found.histogram == [1, 0, 3, 0, 1]


def test_word_times_of_other_words_are_not_used() -> None:
    scored = score_all({"s-1": "A B"}, {"s-1": "A B"}, {"s-1": "s"})
    emissions = stub({"s-1": [1, 2]}, 1, 0)
    (latency,) = utterance_latencies(scored, emissions, ENDS, {"s-1": [Word("A", 0, 1), Word("X", 1, 2)]})
    assert latency.words == ()
    (latency,) = utterance_latencies(
        scored, emissions, ENDS, {"s-1": [Word("A", 0, 1), Word("<eps>", 1, 1.5), Word("B", 1.5, 2)]}
    )
    assert len(latency.words) == 2


def test_unknown_end_of_speech_is_counted() -> None:
    scored = score_all(REFS, HYPS, dict.fromkeys(REFS, "s"))
    found = latency_report(scored, stub(FRAMES, 1, 0), {"s-1": ENDS["s-1"]}, "ctm", WORDS)
    assert found.unknown_end == 3
    assert found.all is not None
    assert found.all.num == 1
    assert latency_report(scored, {}, {}, "ctm").all is None
