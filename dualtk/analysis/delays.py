"""How late a model speaks, drawn: shares of utterances by latency, and the histogram of word delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dualtk.analysis.picture import INK, Picture, Table, canvas, decorate
from dualtk.score.latency import HISTOGRAM_SECONDS


def latency_curves(systems: Mapping[str, Sequence[float]], name: str = "latency") -> Picture:
    """Share of utterances whose last token is out by a given time after the end of speech; delays in seconds."""
    figure, (axes,) = canvas()
    rows: list[list[object]] = []
    for system, delays in systems.items():
        ordered = sorted(delays)
        shares = [100 * (rank + 1) / len(ordered) for rank in range(len(ordered))]
        axes.step([1000 * delay for delay in ordered], shares, where="post", label=system)
        rows += [[system, 1000 * delay, share] for delay, share in zip(ordered, shares)]
    for share in (50, 90):
        axes.axhline(share, color=INK, linewidth=1.0, linestyle=":")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_ylim(0, 101)
    decorate(axes, "last token minus end of speech (ms)", "utterances (%)", legend=bool(rows))
    caption = "Emission latency of the final token; the dotted lines cross the curves at Latency@50 and Latency@90."
    return Picture(name, "Emission latency", caption, figure, Table(["system", "latency_ms", "percent"], rows))


def word_delay_histogram(systems: Mapping[str, tuple[float, Sequence[int]]], name: str = "word-delays") -> Picture:
    """Histograms of word delays: per system the start of the first bin in seconds, and the counts of 50 ms bins."""
    figure, (axes,) = canvas()
    rows: list[list[object]] = []
    width = 1000 * HISTOGRAM_SECONDS
    for system, (start, counts) in systems.items():
        edges = 1000 * start + width * np.arange(len(counts) + 1)
        shares = 100 * np.asarray(counts) / max(1, sum(counts))
        axes.stairs(shares, edges, label=system, linewidth=1.2)
        rows += [[system, float(edge), number] for edge, number in zip(edges, counts)]
    axes.axvline(0, color=INK, linewidth=0.8)
    decorate(axes, "last token of a word minus its end (ms)", "correct words (%)", legend=bool(rows))
    caption = "Delay of each correct word: when its last token was emitted, against when the word ended."
    return Picture(name, "Word delays", caption, figure, Table(["system", "bin_start_ms", "words"], rows))
