"""How late a model speaks (Dual-mode ASR, section 4.1): emission times, Latency@50, Latency@90 and word delays.

All of it is on the clock of the audio: when what a token needs had been spoken. Computation is reported elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualtk.ctm import Word
from dualtk.frames import FRAME_REACH_SECONDS, FRAME_SECONDS
from dualtk.score.bootstrap import Interval, statistic_interval
from dualtk.score.endpoints import Endpoints, spoken
from dualtk.score.read import Emissions
from dualtk.score.wer import ScoredUtterance

HISTOGRAM_SECONDS = 0.05

Floats = NDArray[np.float64]


def emission_time(
    frames: ArrayLike,
    subsampling: int,
    chunk: int | None,
    look_ahead_frames: int,
    duration: float,
    reach: float = FRAME_REACH_SECONDS,
) -> Floats:
    """When the audio had arrived that each encoder output frame needs, in seconds from the start of the audio.

    That is the right edge of the last feature frame of the output frame's chunk, plus the look-ahead; never later than
    the end of the audio, at which the stream is flushed.

    Args:
        frames: output frames, any shape, int.
        subsampling: feature frames per output frame.
        chunk: output frames decided together; None where the whole utterance is (full context).
        look_ahead_frames: feature frames by which the input runs ahead of the output.
        duration: seconds of audio.
        reach: seconds from the start of a feature frame to the end of the audio that it covers.

    Returns:
        Array of the shape of `frames`.
    """
    positions = np.asarray(frames)
    if chunk is None:
        return np.full(positions.shape, duration)
    last_feature_frame = (positions // chunk + 1) * chunk * subsampling - 1 + look_ahead_frames
    return np.minimum(last_feature_frame * FRAME_SECONDS + reach, duration)


@dataclass(frozen=True)
class UtteranceLatency:
    """Emission delays of one utterance, in seconds; negative where the model is ahead of the speaker.

    Attributes:
        utterance: its id.
        last: emission of the last token minus the end of speech.
        first: emission of the first token minus the start of speech.
        last_word_right: whether the alignment ends in a correct word.
        words: per correct word, emission of its last token minus the end of the word; empty without word times.
    """

    utterance: str
    last: float
    first: float
    last_word_right: bool
    words: tuple[float, ...]


@dataclass(frozen=True)
class LatencySummary:
    """Latency@50 and Latency@90 over `num` utterances, in seconds, with 95 % bootstrap intervals."""

    num: int
    at50: Interval
    at90: Interval


@dataclass(frozen=True)
class WordDelays:
    """Delays of `num` correct words in seconds; bin i of the histogram is [i, i + 1) * 50 ms from `histogram_start`."""

    num: int
    median: float
    percentile90: float
    histogram_start: float
    histogram: list[int]


@dataclass(frozen=True)
class LatencyReport:
    """Everything about emission latency on one set.

    Attributes:
        source: where the end of speech comes from, `ctm` or `energy estimate`.
        last_word_right: over utterances whose last word is right; None if there are none.
        all: over all utterances that emitted a token and whose end of speech is known.
        first_token: emission of the first token minus the start of speech, over the same utterances as `all`.
        words: delays of correct words; None without word times.
        silent: number of utterances without a token.
        unknown_end: number of utterances whose end of speech is not known.
    """

    source: str
    last_word_right: LatencySummary | None
    all: LatencySummary | None
    first_token: LatencySummary | None
    words: WordDelays | None
    silent: int
    unknown_end: int


def word_delays(scored: ScoredUtterance, emissions: Emissions, times: Sequence[Word]) -> tuple[float, ...]:
    """Emission of each correct word's last token minus the word's end.

    Empty where the words of the CTM are not those of the reference, or those of the tokens not the hypothesis's:
    then which time belongs to which word is not known.
    """
    ref_times, hyp_times = spoken(times), emissions.words()
    refs = [pair.ref for pair in scored.pairs if pair.ref is not None]
    hyps = [pair.hyp for pair in scored.pairs if pair.hyp is not None]
    if [word.word.lower() for word in ref_times] != refs or [word.word.lower() for word in hyp_times] != hyps:
        return ()
    delays, ref_position, hyp_position = [], 0, 0
    for pair in scored.pairs:
        if pair.ref is not None and pair.hyp is not None and pair.kind == "C":
            delays.append(hyp_times[hyp_position].end - ref_times[ref_position].end)
        ref_position += pair.ref is not None
        hyp_position += pair.hyp is not None
    return tuple(delays)


def utterance_latency(
    scored: ScoredUtterance, emissions: Emissions, endpoints: Endpoints, times: Sequence[Word] = ()
) -> UtteranceLatency:
    """Delays of an utterance that has at least one token; `times` are its words' times, if known."""
    return UtteranceLatency(
        scored.utterance,
        emissions.times[-1] - endpoints.end,
        emissions.times[0] - endpoints.start,
        bool(scored.pairs) and scored.pairs[-1].kind == "C",
        word_delays(scored, emissions, times),
    )


def _percentile(rank: float) -> Callable[[Floats], Floats]:
    return lambda values: np.asarray(np.percentile(values, rank, axis=-1))


def _summary(delays: Sequence[float]) -> LatencySummary | None:
    values = np.asarray(delays, float)
    if not len(values):
        return None
    at50, at90 = (statistic_interval(values, _percentile(rank)) for rank in (50.0, 90.0))
    return LatencySummary(len(values), at50, at90)


def _word_summary(delays: Sequence[float]) -> WordDelays | None:
    values = np.asarray(delays, float)
    if not len(values):
        return None
    bins = np.floor(np.round(values / HISTOGRAM_SECONDS, 6)).astype(np.int64)
    median, percentile90 = (float(value) for value in np.percentile(values, [50.0, 90.0]))
    first = int(bins.min())
    return WordDelays(len(values), median, percentile90, first * HISTOGRAM_SECONDS, np.bincount(bins - first).tolist())


def utterance_latencies(
    scored: Sequence[ScoredUtterance],
    emissions: Mapping[str, Emissions],
    endpoints: Mapping[str, Endpoints],
    ctm: Mapping[str, Sequence[Word]] | None = None,
) -> list[UtteranceLatency]:
    """Delays of every utterance that emitted a token and whose endpoints are known."""
    times = ctm or {}
    return [
        utterance_latency(each, emissions[each.utterance], endpoints[each.utterance], times.get(each.utterance, ()))
        for each in scored
        if each.utterance in endpoints and each.utterance in emissions and emissions[each.utterance].tokens
    ]


def latency_report(
    scored: Sequence[ScoredUtterance],
    emissions: Mapping[str, Emissions],
    endpoints: Mapping[str, Endpoints],
    source: str,
    ctm: Mapping[str, Sequence[Word]] | None = None,
) -> LatencyReport:
    """Latency of a decoded set.

    Args:
        scored: its utterances, aligned with their references.
        emissions: tokens and emission times by utterance.
        endpoints: start and end of speech by utterance.
        source: where `endpoints` come from, `ctm` or `energy estimate`.
        ctm: times of the reference's words, if known.
    """
    delays = utterance_latencies(scored, emissions, endpoints, ctm)
    silent = sum(each.utterance not in emissions or not emissions[each.utterance].tokens for each in scored)
    return LatencyReport(
        source,
        _summary([delay.last for delay in delays if delay.last_word_right]),
        _summary([delay.last for delay in delays]),
        _summary([delay.first for delay in delays]),
        _word_summary([word for delay in delays for word in delay.words]),
        silent,
        sum(each.utterance not in endpoints for each in scored),
    )
