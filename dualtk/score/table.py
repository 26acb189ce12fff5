"""The table of results: every decoded set, both modes side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dualtk.score.summary import SetScore

COLUMNS = (
    "set",
    "mode",
    "look-ahead / chunk",
    "search",
    "WER %",
    "sub",
    "del",
    "ins",
    "CER %",
    "Latency@50 ms",
    "Latency@90 ms",
    "RTF",
    "params",
)
NOTES = """\
WER and CER in percent, with the 95 % interval of a bootstrap over utterances. Latency: emission of the last token minus
the end of speech, over all utterances / over those whose last word is right; on the clock of the audio, so without
computation (none in full context, where it means nothing). RTF: seconds of computation per second of audio, with many
utterances or streams at once.
"""
ESTIMATE = "(e): the end of speech is an energy estimate, for want of word times.\n"


def percent(rate: Mapping[str, float], interval: bool = True) -> str:
    """`4.21 [3.90, 4.55]` from a rate as a fraction."""
    if math.isnan(rate["value"]):
        return "-"
    text = f"{100 * rate['value']:.2f}"
    return f"{text} [{100 * rate['low']:.2f}, {100 * rate['high']:.2f}]" if interval else text


def milliseconds(seconds: float) -> str:
    """Whole milliseconds."""
    return f"{1000 * seconds:.0f}"


def parameters(number: int) -> str:
    """`30.7 M`, `812 k`."""
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def context(decoding: Mapping[str, Any]) -> str:
    """What the mode waits for beyond a frame, in milliseconds: look-ahead / chunk."""
    if decoding["full_context"]:
        return "whole utterance"
    frame = 10 * decoding["subsampling"]
    return f"{decoding['look_ahead_ms']} ms / {frame * decoding['chunk']} ms"


def search(decoding: Mapping[str, Any]) -> str:
    """`greedy`, `beam 4`, `beam 4, lm 0.3, internal lm 0.1`: how the set was searched."""
    options = decoding["search"]
    text: str = f"beam {options['beam']}" if options["name"] == "beam" else options["name"]
    weights = {"lm": "lm_weight", "source lm": "source_lm_weight", "internal lm": "internal_lm_weight"}
    weights |= {"length": "length_reward"}
    return ", ".join([text, *(f"{name} {options[key]:g}" for name, key in weights.items() if options.get(key))])


def latency_cell(latency: Mapping[str, Any] | None, rank: str) -> str:
    """`all / last word right` in milliseconds."""
    if latency is None or latency["all"] is None:
        return "-"
    right = latency["last_word_right"]
    cell = milliseconds(latency["all"][rank]["value"])
    cell += f" / {milliseconds(right[rank]['value'])}" if right else " / -"
    return cell if latency["source"] == "ctm" else f"{cell} (e)"


def row(one: SetScore) -> list[str]:
    """The cells of one decoded set, in the order of `COLUMNS`."""
    score, counts = one.score, one.score["wer"]["counts"]
    decoding, latency = score["decoding"], score["emission_latency"]
    return [
        one.name,
        one.asked,
        context(decoding),
        search(decoding),
        percent(score["wer"]["rate"]),
        *(str(counts[kind]) for kind in ("substitutions", "deletions", "insertions")),
        percent(score["cer"]["rate"]),
        latency_cell(latency, "at50"),
        latency_cell(latency, "at90"),
        f"{score['computation']['real_time_factor']:.3f}",
        parameters(decoding["num_parameters"]),
    ]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table whose columns line up as plain text."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |\n"

    return line(header) + line(["-" * width for width in widths]) + "".join(map(line, rows))


def results_table(experiments: Mapping[str, Sequence[SetScore]]) -> str:
    """The table of one experiment, or of several with their names in front, and what its columns mean.

    What makes a figure mean little is said before it.
    """
    several = len(experiments) > 1
    rows = [[name, *row(one)] if several else row(one) for name, scores in experiments.items() for one in scores]
    table = markdown(["experiment", *COLUMNS] if several else COLUMNS, rows)
    told = [f"{name}: {line}" for name, scores in experiments.items() for one in scores for line in one.warnings]
    warned = "".join(f"**{line}**\n" for line in told)
    return (f"{warned}\n" if warned else "") + f"{table}\n{NOTES}" + (ESTIMATE if "(e)" in table else "")
