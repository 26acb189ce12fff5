"""The table of `dualtk ablate`: systems side by side over seeds, each against the first."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.bin.ablation.against import Against, Lines, against
from dualtk.distill.teacher import TEACHER
from dualtk.score.bootstrap import Interval
from dualtk.score.summary import SetScore, read_score
from dualtk.score.table import markdown, parameters
from dualtk.score.utterances import UTTERANCE_FILE, read_utterances

COLUMNS = (
    "set",
    "mode",
    "system",
    "WER %",
    "against",
    "relative %",
    "Latency@50 ms",
    "against",
    "Latency@90 ms",
    "against",
    "params",
)
NOTES = """\
WER and latency: mean over seeds, plus or minus their standard deviation. Against: difference from the first system of
the table's part, of WER in percent absolute and of latency in milliseconds; relative: that of WER in percent of the
first system's. Their 95 % intervals are of a paired bootstrap over utterances, in which an utterance counts with its
errors and its delays under every seed: they say what other utterances would change, not other seeds. Latency: emission
of the last token minus the end of speech, over all utterances; its difference, over those that have one in every run of
both systems.
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
    """One system on one set in one mode; rates as fractions, latencies in seconds (None in full context).

    `seeds` are those of which there is a run; `against_first` is None in the first row of a part.
    """

    set: str
    mode: str
    system: str
    seeds: list[int]
    wer: Spread
    latency_at50: Spread | None
    latency_at90: Spread | None
    against_first: Against | None
    num_parameters: int


@dataclass(frozen=True)
class Group:
    """The runs of one system by seed, and the modes that it has."""

    system: str
    modes: list[str]
    folders: dict[int, Path]


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end, and why."""

    system: str
    seed: int
    why: str


def spread(values: Sequence[float]) -> Spread:
    """Over seeds."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def latency(scores: Sequence[SetScore], rank: str) -> Spread | None:
    """Latency over seeds, where every seed has one."""
    found = [one.score["emission_latency"] for one in scores]
    if any(each is None or each["all"] is None for each in found):
        return None
    return spread([each["all"][rank]["value"] for each in found])


def part(groups: Sequence[Group], data: str, mode: str, teachers: bool) -> list[Row]:
    """The systems that have `mode`, and teachers beside them in their own mode where they are wanted, on one set."""
    rows: list[Row] = []
    first: Mapping[int, Lines] | None = None
    for group in groups:
        own = TEACHER if teachers and group.modes == [TEACHER] else mode
        if own not in group.modes:
            continue
        folders = {seed: folder / "decode" / f"{data}-{own}" for seed, folder in group.folders.items()}
        scores = [read_score(folder) for folder in folders.values()]
        lines = {seed: read_utterances(folder / UTTERANCE_FILE) for seed, folder in folders.items()}
        rows.append(
            Row(
                set=data,
                mode=own,
                system=group.system,
                seeds=list(folders),
                wer=spread([one.score["wer"]["rate"]["value"] for one in scores]),
                latency_at50=latency(scores, "at50"),
                latency_at90=latency(scores, "at90"),
                against_first=None if first is None else against(first, lines),
                num_parameters=scores[0].score["decoding"]["num_parameters"],
            )
        )
        first = first or lines
    return rows


def change(found: Interval | None, scale: float, digits: int) -> str:
    """`-1.37 [-1.70, -1.04]`."""
    if found is None:
        return "-"
    # Rounded before it is written, and 0 added: nothing is "-0".
    value, low, high = (
        f"{round(scale * each, digits) + 0.0:+.{digits}f}" for each in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


def cells(row: Row, seeds: Sequence[int]) -> list[str]:
    """A row as text, in the order of `COLUMNS`; one that lacks runs of `seeds` says which it has."""
    found = row.against_first
    remark = f" (seed{'s' if len(row.seeds) > 1 else ''} {' '.join(map(str, row.seeds))})"
    return [
        row.set,
        row.mode,
        row.system + ("" if row.seeds == list(seeds) else remark),
        row.wer.text(100, 2),
        change(found.wer.difference if found else None, 100, 2),
        change(found.relative if found else None, 100, 1),
        row.latency_at50.text(1000, 0) if row.latency_at50 else "-",
        change(found.latency_at50 if found else None, 1000, 0),
        row.latency_at90.text(1000, 0) if row.latency_at90 else "-",
        change(found.latency_at90 if found else None, 1000, 0),
        parameters(row.num_parameters),
    ]


def table(rows: Sequence[Row], seeds: Sequence[int]) -> str:
    """All rows as markdown; `seeds` are those of the suite."""
    return markdown(COLUMNS, [cells(row, seeds) for row in rows])


def remarks(failures: Sequence[Failure]) -> str:
    """What the columns mean, and which runs the table lacks."""
    lacking = "".join(f"- {one.system}, seed {one.seed}: {one.why}\n" for one in failures)
    return NOTES + (f"\nRuns that failed, and are not in the table:\n\n{lacking}" if failures else "")
