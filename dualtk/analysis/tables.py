"""The tables of the report, each as the HTML of a section; empty where there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dualtk.analysis import settings
from dualtk.analysis.errors import frequent_errors
from dualtk.analysis.experiment import Experiment, decoded_sets, labels
from dualtk.analysis.page import UNKNOWN, Cell, table
from dualtk.score.bootstrap import compare
from dualtk.score.summary import SetScore
from dualtk.score.table import context, parameters, percent, search

Rows = list[list[Cell | str]]

RESULT_NOTE = """<p>Below each figure the interval that holds 95 % of bootstrap resamples of the utterances. Latency in
milliseconds, over all utterances. RTF is computation per second of audio, with many utterances or streams at once; no
latency on this page contains computation unless it says so.</p>"""
SESSION_NOTE = """<p>Computation of a chunk in a streaming session, in milliseconds at 50, 90 and 99 %; words that
partial results showed and took back again, in percent of the words of the final results.</p>"""
COMPARISON_NOTE = "<p>Paired bootstrap: both systems resampled by the same draws of utterances.</p>"
LATENCY_NOTE = """<p>In milliseconds on the clock of the audio: when what the last token needs had been spoken, against
the end of speech; negative where the model is ahead. "Right": only utterances whose last word is right. First token:
against the start of speech, at 50 %. Word: a correct word's last token against the word's end. Longest wait: look-ahead
plus the rest of the chunk, which the mode alone imposes. Felt: @50 plus the computation of a chunk, where a session
measured it. Full-context modes are left out, because they wait for the end by design.</p>"""


def _rate(rate: Mapping[str, float]) -> Cell:
    return Cell(percent(rate, interval=False), rate["value"], f"{100 * rate['low']:.2f} to {100 * rate['high']:.2f}")


def _ms(summary: Mapping[str, Any] | None, rank: str) -> Cell:
    """Latency at a rank with its interval, in milliseconds."""
    if summary is None:
        return UNKNOWN
    interval = summary[rank]
    detail = f"{1000 * interval['low']:.0f} to {1000 * interval['high']:.0f}"
    return Cell(f"{1000 * interval['value']:.0f}", interval["value"], detail)


def _plain_ms(seconds: float | None) -> Cell:
    return UNKNOWN if seconds is None else Cell(f"{1000 * seconds:.0f}", seconds)


def _result_row(label: str, one: SetScore) -> list[Cell | str]:
    score, counts = one.score, one.score["wer"]["counts"]
    facts, latency = score["decoding"], score["emission_latency"]
    return [
        one.name,
        Cell(label, wraps=True),
        context(facts),
        search(facts),
        _rate(score["wer"]["rate"]),
        *(Cell(str(counts[kind]), counts[kind]) for kind in ("substitutions", "deletions", "insertions")),
        _rate(score["cer"]["rate"]),
        *(_ms(latency["all"] if latency else None, rank) for rank in ("at50", "at90")),
        Cell(f"{facts['real_time_factor']:.3f}", facts["real_time_factor"]),
        Cell(parameters(facts["num_parameters"]), facts["num_parameters"]),
    ]


def results_section(experiments: Sequence[Experiment]) -> str:
    """Every decoded set of every experiment, both modes."""
    header = ["set", "system", "look-ahead / chunk", "search", "WER %", "sub", "del", "ins", "CER %"]
    header += ["Latency@50", "Latency@90", "RTF", "params"]
    told = [line for one in experiments for decoded in one.decoded for line in decoded.score.warnings]
    warned = "".join(f'<p class="warning">{escape(line)}</p>' for line in told)
    return (
        warned
        + RESULT_NOTE
        + table(header, [_result_row(label, one.score) for label, one in labels(experiments)], cards=True)
    )


def _latency_row(label: str, one: SetScore) -> list[Cell | str]:
    latency, algorithmic = one.score["emission_latency"], one.score["algorithmic_latency"]
    words, felt = latency["words"], one.score["felt_latency"]
    return [
        one.name,
        Cell(label, wraps=True),
        latency["source"],
        *(_ms(latency[group], rank) for group in ("all", "last_word_right") for rank in ("at50", "at90")),
        _ms(latency["first_token"], "at50"),
        *(_plain_ms(words[rank] if words else None) for rank in ("median", "percentile90")),
        _plain_ms(algorithmic["longest_wait"]),
        _plain_ms(felt["at50"] if felt else None),
    ]


def latency_section(experiments: Sequence[Experiment]) -> str:
    """Emission latencies of the streaming modes, in milliseconds."""
    header = ["set", "system", "end of speech", "@50", "@90", "@50 right", "@90 right", "first token", "word @50"]
    rows = [
        _latency_row(label, decoded.score)
        for label, decoded in labels(experiments)
        if decoded.score.score["emission_latency"] is not None
    ]
    header += ["word @90", "longest wait", "@50 felt"]
    return LATENCY_NOTE + table(header, rows, cards=True) if rows else ""


def session_section(experiments: Sequence[Experiment]) -> str:
    """What streaming sessions measured: seconds to compute a chunk, and words shown and taken back."""
    rows: Rows = []
    for label, decoded in labels(experiments):
        one = decoded.score
        times, churn = one.score["computation"]["chunk_seconds"], one.score["churn"]
        if not times and not churn:
            continue
        row: list[Cell | str] = [one.name, Cell(label, wraps=True)]
        row += [Cell(f"{1000 * times[rank]:.1f}", times[rank]) if times else UNKNOWN for rank in ("p50", "p90", "p99")]
        ratio = 100 * churn["ratio"] if churn else 0.0
        row.append(Cell(f"{ratio:.1f}", ratio) if churn else UNKNOWN)
        row.append(Cell(str(churn["revisions"]), churn["revisions"]) if churn else UNKNOWN)
        rows.append(row)
    header = ["set", "system", "chunk ms @50", "chunk ms @90", "chunk ms @99", "words taken back %", "revisions"]
    return SESSION_NOTE + table(header, rows, cards=True) if rows else ""


def comparison_section(experiments: Sequence[Experiment]) -> str:
    """Paired bootstrap of every later experiment against the first, on the sets and modes that both decoded."""
    if len(experiments) < 2:
        return ""
    first = {(one.score.name, one.score.label): one for one in experiments[0].decoded}
    rows: Rows = []
    for other in experiments[1:]:
        for decoded in other.decoded:
            base = first.get((decoded.score.name, decoded.score.label))
            if base is None:
                continue
            before = {each.utterance: each.words for each in base.scored()}
            after = {each.utterance: each.words for each in decoded.scored()}
            common = sorted(before.keys() & after.keys())
            sizes = [before[name].reference for name in common]
            if not sum(sizes):
                continue
            first_errors, second_errors = ([counts[name].errors for name in common] for counts in (before, after))
            found = compare(first_errors, second_errors, sizes)
            difference = found.difference
            detail = f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
            change = Cell(f"{100 * difference.value:+.2f}", difference.value, detail)
            better = Cell(f"{100 * found.probability:.1f}", found.probability)
            rows.append([decoded.score.name, decoded.score.label, other.name, change, better])
    if not rows:
        return ""
    header = ["set", "mode", "experiment", f"WER minus that of {experiments[0].name}", "chance to be better %"]
    return COMPARISON_NOTE + table(header, rows, cards=True)


def errors_section(experiments: Sequence[Experiment]) -> str:
    """The most frequent errors of every set, and how often each system made them."""
    parts = []
    for name, systems in decoded_sets(experiments).items():
        found = frequent_errors({label: one.scored() for label, one in systems.items()})
        rows: Rows = [
            [str(kind), Cell(str(words), wraps=True), *(Cell(str(times), float(str(times))) for times in counts)]
            for kind, words, *counts in found.rows
        ]
        if rows:
            parts.append(f"<h3>{escape(name)}</h3>{table(found.header, rows)}")
    return "".join(parts)


def settings_section(experiments: Sequence[Experiment]) -> str:
    """The configuration of one experiment, or what differs between several and each one's whole behind a fold."""
    header = ["key", *(one.name for one in experiments)]
    if len(experiments) == 1:
        rows: Rows = [[key, Cell(value, wraps=True)] for key, value in experiments[0].settings.items()]
        return f"<details><summary>All {len(rows)} settings</summary>{table(['key', 'value'], rows)}</details>"
    found = settings.differences([one.settings for one in experiments])
    changed: Rows = [[key, *(Cell(value, wraps=True) for value in values)] for key, values in found]
    paths = dict.fromkeys(path for one in experiments for path in one.settings)
    everything: Rows = [
        [path, *(Cell(one.settings.get(path, settings.ABSENT), wraps=True) for one in experiments)] for path in paths
    ]
    shown = table(header, changed) if changed else "<p>The configurations are the same.</p>"
    return f"{shown}<details><summary>All {len(paths)} settings</summary>{table(header, everything)}</details>"
