"""What `score.json` says of one decoded set: errors, emission latency, and computation, each apart from the others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from dualtk.errors import InputError
from dualtk.frames import FRAME_REACH_SECONDS, FRAME_SECONDS
from dualtk.score.bootstrap import Interval, rate_interval
from dualtk.score.churn import Churn
from dualtk.score.latency import LatencyReport
from dualtk.score.wer import Counts, ScoredUtterance, total
from dualtk.tables import read_json

SCORE_FILE = "score.json"


Count = Annotated[int, Field(ge=1, lt=10**15)]


class _Facts(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, strict=True)


class Search(_Facts):
    """How a set was searched."""

    name: str
    beam: int = 1
    lm: str | None = None
    lm_weight: float | None = None
    source_lm: str | None = None
    source_lm_weight: float | None = None
    internal_lm_weight: float | None = None
    length_reward: float | None = None


class ChunkSeconds(_Facts):
    """Seconds to compute a chunk, at 50, 90 and 99 %."""

    p50: float
    p90: float
    p99: float


class Decoding(_Facts):
    """What scoring and reports want of the facts of a decoding, decode.json."""

    mode: str
    full_context: bool
    chunk: Count | None
    look_ahead_ms: NonNegativeFloat
    subsampling: Count
    num_parameters: Count
    real_time_factor: float
    search: Search
    reach: float = FRAME_REACH_SECONDS
    chunk_seconds: ChunkSeconds | None = None

    @model_validator(mode="after")
    def _chunk_of_a_stream(self) -> Decoding:
        if self.chunk is None and not self.full_context:
            raise ValueError("a mode that streams has a chunk")
        return self


@dataclass(frozen=True)
class ErrorRate:
    """An error rate as a fraction, its interval by resampling utterances, and the counts behind it."""

    rate: Interval
    counts: Counts


def error_rate(counts: Sequence[Counts], replicates: int, seed: int) -> ErrorRate:
    """The error rate over utterances; a set without reference words has none (nan)."""
    whole = total(counts)
    if not whole.reference:
        return ErrorRate(Interval(math.nan, math.nan, math.nan), whole)
    errors, sizes = [each.errors for each in counts], [each.reference for each in counts]
    return ErrorRate(rate_interval(errors, sizes, replicates, seed), whole)


def algorithmic_latency(decoding: Mapping[str, Any]) -> dict[str, float] | None:
    """What the mode alone makes a frame wait for, in seconds; None in full context, where it is the whole utterance.

    `wait` is from the end of a frame's own audio to that of the last audio it needs: none for the last frame of a
    chunk, all but one frame of the chunk for the first; the mean over a chunk and the longest are given. `window` is
    how far a feature frame reaches beyond its shift; a decoding that does not say is one of log-mel features.
    """
    if decoding["full_context"]:
        return None
    frame = decoding["subsampling"] * FRAME_SECONDS
    look_ahead = decoding["look_ahead_ms"] / 1000
    longest = (decoding["chunk"] - 1) * frame
    return {
        "frame": frame,
        "chunk": decoding["chunk"] * frame,
        "look_ahead": look_ahead,
        "window": decoding.get("reach", FRAME_REACH_SECONDS) - FRAME_SECONDS,
        "mean_wait": longest / 2 + look_ahead,
        "longest_wait": longest + look_ahead,
    }


def computation(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Real-time factor of the decoding, and seconds per chunk at 50, 90 and 99 % where a session measured them."""
    return {"real_time_factor": decoding["real_time_factor"], "chunk_seconds": decoding.get("chunk_seconds")}


def felt_latency(latency: LatencyReport | None, decoding: Mapping[str, Any]) -> dict[str, float] | None:
    """Emission latency plus the time to compute a chunk, rank by rank: what a user waits, in seconds.

    None without measured chunk times; a batched decoding has none.
    """
    times = decoding.get("chunk_seconds")
    if latency is None or latency.all is None or not times:
        return None
    return {"at50": latency.all.at50.value + times["p50"], "at90": latency.all.at90.value + times["p90"]}


def summarise(
    scored: Sequence[ScoredUtterance],
    missing: Sequence[str],
    latency: LatencyReport | None,
    churn: Churn | None,
    decoding: Mapping[str, Any],
    data: str,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """The content of score.json; times in seconds, rates as fractions. `data` names the directory of references.

    `churn` is that of the whole set, None without partial results.
    """
    return {
        "data": data,
        "num_utterances": len(scored),
        "missing": list(missing),
        "wrong_sentences": sum(each.words.errors > 0 for each in scored),
        "wer": asdict(error_rate([each.words for each in scored], replicates, seed)),
        "cer": asdict(error_rate([each.characters for each in scored], replicates, seed)),
        "emission_latency": None if latency is None else asdict(latency),
        "churn": None if churn is None else {**asdict(churn), "ratio": churn.ratio},
        "algorithmic_latency": algorithmic_latency(decoding),
        "computation": computation(decoding),
        "felt_latency": felt_latency(latency, decoding),
        "decoding": dict(decoding),
    }


class _Interval(_Facts):
    value: float | None
    low: float | None
    high: float | None


class _Rate(_Facts):
    rate: _Interval
    counts: Counts


class Computation(_Facts):
    """Of a decoding."""

    real_time_factor: float
    chunk_seconds: ChunkSeconds | None


class Score(_Facts):
    """What tables and reports want of a score.json."""

    data: str
    wer: _Rate
    cer: _Rate
    emission_latency: LatencyReport | None
    churn: dict[str, float | None] | None
    algorithmic_latency: dict[str, float] | None
    computation: Computation
    felt_latency: dict[str, float] | None
    decoding: Decoding
    warnings: list[str] = []


@dataclass(frozen=True)
class SetScore:
    """One decoded set of an experiment: its folder, its name, its mode, and the content of its score.json."""

    folder: Path
    name: str
    mode: str
    score: dict[str, Any]

    @property
    def asked(self) -> str:
        """The mode as it was asked for: `streaming`, or `streaming@4` in other chunks than its own."""
        named = _named(self.folder.name, self.mode)
        return named["asked"] if named else self.mode

    @property
    def label(self) -> str:
        """The mode as asked for, and the search where the folder names one: `streaming`, `full beam4`."""
        named = _named(self.folder.name, self.mode)
        return f"{self.asked} {named['search']}" if named and named["search"] else self.asked

    @property
    def warnings(self) -> list[str]:
        """Why its figures mean little, a line each (`dualtk.score.diagnosis`)."""
        return [f"{self.name} {self.label}: {line}" for line in self.score.get("warnings", [])]


def _named(folder: str, mode: str) -> re.Match[str] | None:
    """What the name of a decoding folder says: the set, the mode as asked for, and a search."""
    asked = rf"{re.escape(mode)}(?:@\d+(?:-(?:\d+|all))?)?"
    return re.fullmatch(rf"(?P<set>.*)-(?P<asked>{asked})(?:-(?P<search>.+))?", folder)


def read_score(folder: Path) -> SetScore:
    """Read the score of a decoding folder `<set>-<mode>`, or `<set>-<mode>-<search>`.

    Raises:
        InputError: it was not scored, or its score.json is not one.
    """
    path = folder / SCORE_FILE
    if not path.is_file():
        raise InputError(f"{folder}: has no {SCORE_FILE}; run `dualtk score` on it first")
    score = read_json(path, Score)
    for kind in ("wer", "cer"):  # of a set without reference words
        rate = score[kind]["rate"]
        score[kind]["rate"] = {key: math.nan if value is None else value for key, value in rate.items()}
    mode = score["decoding"]["mode"]
    named = _named(folder.name, mode)
    return SetScore(folder, named["set"] if named else folder.name, mode, score)


def read_scores(experiment: Path) -> list[SetScore]:
    """All scored sets of an experiment: set by set, the full-context mode first.

    Raises:
        InputError: there are none.
    """
    folders = sorted(path.parent for path in (experiment / "decode").glob(f"*/{SCORE_FILE}"))
    if not folders:
        raise InputError(f"{experiment}: has no scored set under decode/; run `dualtk decode` and `dualtk score` first")
    scores = [read_score(folder) for folder in folders]
    return sorted(
        scores, key=lambda one: (one.name, not one.score["decoding"]["full_context"], one.mode, one.folder.name)
    )
