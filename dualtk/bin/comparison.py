"""The table of `dualtk ablate`: systems side by side over seeds, with the paired bootstrap between them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.config import TEACHER
from dualtk.score.bootstrap import Comparison, compare
from dualtk.score.summary import SetScore, read_score
from dualtk.score.table import parameters
from dualtk.score.utterances import UTTERANCE_FILE, read_utterances

COLUMNS = ("set", "mode", "system", "WER %", "against", "Latency@50 ms", "Latency@90 ms", "params")


NOTES = """\
WER and latency: mean over seeds, plus or minus their standard deviation. Against: difference in WER (percent, absolute)
from the first system of the table's part, with the 95 % interval of a paired bootstrap over utterances, in which an
utterance counts with its errors under every seed. Latency: emission of the last token minus the end of speech, over all
utterances.
"""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds (0 for a single one)."""

    mean: float
    deviation: float

    def text(self, scale: float, digits: int) -> str:
        """`4.21 ± 0.10`."""
        return f"{scale * self.mean:.{digits}f} ± {scale * self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One system on one set in one mode; rates as fractions, latencies in seconds (None in full context)."""

    set: str
    mode: str
    system: str
    wer: Spread
    against_first: Comparison | None
    latency_at50: Spread | None
    latency_at90: Spread | None
    num_parameters: int


@dataclass(frozen=True)
class Group:
    """The runs of one system over all seeds, and the modes that it has."""

    system: str
    modes: list[str]
    folders: list[Path]


def spread(values: Sequence[float]) -> Spread:
    """Over seeds."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def latency(scores: Sequence[SetScore], rank: str) -> Spread | None:
    """Latency over seeds, where every seed has one."""
    found = [one.score["emission_latency"] for one in scores]
    if any(each is None or each["all"] is None for each in found):
        return None
    return spread([each["all"][rank]["value"] for each in found])


def errors_by_utterance(folders: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Errors and reference words of each utterance, added up over seeds."""
    total: dict[str, tuple[int, int]] = {}
    for folder in folders:
        for line in read_utterances(folder / UTTERANCE_FILE):
            errors, words = total.get(line.scored.utterance, (0, 0))
            counts = line.scored.words
            total[line.scored.utterance] = (errors + counts.errors, words + counts.reference)
    return total


def against(first: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]) -> Comparison:
    """Paired bootstrap of another system against the first."""
    names = sorted(first)
    words = [first[name][1] for name in names]
    return compare([first[name][0] for name in names], [other[name][0] for name in names], words)


def part(groups: Sequence[Group], data: str, mode: str, teachers: bool) -> list[Row]:
    """The systems that have `mode`, and teachers beside them in their own mode where they are wanted, on one set."""
    rows: list[Row] = []
    first: dict[str, tuple[int, int]] | None = None
    for group in groups:
        own = TEACHER if teachers and group.modes == [TEACHER] else mode
        if own not in group.modes:
            continue
        folders = [folder / "decode" / f"{data}-{own}" for folder in group.folders]
        scores = [read_score(folder) for folder in folders]
        errors = errors_by_utterance(folders)
        rows.append(
            Row(
                data,
                own,
                group.system,
                spread([one.score["wer"]["rate"]["value"] for one in scores]),
                None if first is None else against(first, errors),
                latency(scores, "at50"),
                latency(scores, "at90"),
                scores[0].score["decoding"]["num_parameters"],
            )
        )
        first = first or errors
    return rows


def cells(row: Row) -> list[str]:
    """A row as text, in the order of `COLUMNS`."""
    difference = "-"
    if row.against_first is not None:
        value = row.against_first.difference
        difference = f"{100 * value.value:+.2f} [{100 * value.low:+.2f}, {100 * value.high:+.2f}]"
    times = [each.text(1000, 0) if each else "-" for each in (row.latency_at50, row.latency_at90)]
    return [row.set, row.mode, row.system, row.wer.text(100, 2), difference, *times, parameters(row.num_parameters)]
