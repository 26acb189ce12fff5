"""What a report knows of an experiment folder: its scores, utterances, training metrics and settings."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from dualtk.score.summary import SetScore
from dualtk.score.utterances import UtteranceLine
from dualtk.score.wer import ScoredUtterance

# An image does not inherit the page's colour of text.
INK_OF_IMAGES = "svg{color:#1b1f24}@media (prefers-color-scheme:dark){svg{color:#e6e9ed}}"


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
    """A figure that was drawn: its file name, its SVG as `Picture.svg` makes it, and its data as TSV.

    One that was read from a folder may be anybody's: it is shown as an image, in which nothing runs or is fetched.
    """

    name: str
    svg: str
    tsv: str
    is_read: bool = False

    @property
    def title(self) -> str:
        """The title inside the SVG."""
        found = re.search(r'aria-label="([^"]*)"', self.svg)
        return unescape(found[1]) if found else self.name

    @property
    def caption(self) -> str:
        """The caption inside the SVG."""
        found = re.search(r"<desc>(.*?)</desc>", self.svg, re.DOTALL)
        return unescape(found[1]) if found else ""

    def html(self) -> str:
        """The figure as an element of a page."""
        if not self.is_read:
            return self.svg
        svg = self.svg.replace(">", f"><style>{INK_OF_IMAGES}</style>", 1)
        if "xmlns=" not in svg[: svg.index(">") + 1 if ">" in svg else 0]:
            svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        data = b64encode(svg.encode("utf-8", errors="replace")).decode("ascii")
        return f'<img alt="{escape(self.title)}" src="data:image/svg+xml;base64,{data}">'


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
        (f"{one.name} {decoded.score.label}" if several else decoded.score.label, decoded)
        for one in experiments
        for decoded in one.decoded
    ]


def decoded_sets(experiments: Sequence[Experiment]) -> dict[str, dict[str, Decoded]]:
    """By set, then by system."""
    sets: dict[str, dict[str, Decoded]] = {}
    for label, decoded in labels(experiments):
        sets.setdefault(decoded.score.name, {})[label] = decoded
    return sets
