"""What a report knows of an experiment folder: its scores, utterances, training metrics and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dualtk.score.summary import SetScore
from dualtk.score.utterances import UtteranceLine
from dualtk.score.wer import ScoredUtterance


@dataclass(frozen=True)
class Decoded:
    """A scored set with its utterances."""

    score: SetScore
    lines: Sequence[UtteranceLine]

    def scored(self) -> list[ScoredUtterance]:
        """The utterances' alignments."""
        return [line.scored for line in self.lines]


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn: its file name, its SVG as `Picture.svg` makes it, and its data as TSV."""

    name: str
    svg: str
    tsv: str

    @property
    def title(self) -> str:
        """The title inside the SVG, escaped for HTML."""
        found = re.search(r'aria-label="([^"]*)"', self.svg)
        return found[1] if found else self.name

    @property
    def caption(self) -> str:
        """The caption inside the SVG, escaped for HTML."""
        found = re.search(r"<desc>(.*?)</desc>", self.svg, re.DOTALL)
        return found[1] if found else ""


@dataclass(frozen=True)
class Experiment:
    """All that the report shows of one experiment folder.

    `settings` are the flattened configuration, `metrics` the lines of metrics.jsonl, `drawings` what
    `dualtk analyse` left, `extracted` the facts of `dualtk extract` where it made the folder.
    """

    name: str
    settings: Mapping[str, str]
    metrics: Sequence[Mapping[str, Any]]
    decoded: Sequence[Decoded]
    drawings: Sequence[Drawing]
    extracted: Mapping[str, Any] | None = None


def labels(experiments: Sequence[Experiment]) -> list[tuple[str, Decoded]]:
    """Every decoded set with the name of its system: the mode, after the experiment's name if there are several."""
    several = len(experiments) > 1
    return [
        (f"{one.name} {decoded.score.mode}" if several else decoded.score.mode, decoded)
        for one in experiments
        for decoded in one.decoded
    ]


def decoded_sets(experiments: Sequence[Experiment]) -> dict[str, dict[str, Decoded]]:
    """By set, then by system."""
    sets: dict[str, dict[str, Decoded]] = {}
    for label, decoded in labels(experiments):
        sets.setdefault(decoded.score.name, {})[label] = decoded
    return sets
