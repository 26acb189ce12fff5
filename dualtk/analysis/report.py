"""The report of one or several experiments as a web page: results, figures, worst utterances, configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from urllib.parse import quote

from dualtk.analysis import tables
from dualtk.analysis.compact import compact_section
from dualtk.analysis.curves import compare_runs, training_pictures
from dualtk.analysis.delays import latency_curves, word_delay_histogram
from dualtk.analysis.errors import errors_by_length
from dualtk.analysis.experiment import Decoded, Drawing, Experiment, decoded_sets
from dualtk.analysis.page import Section, page
from dualtk.analysis.picture import Picture
from dualtk.analysis.worst import Sound, Systems, utterance_block, worst_utterances
from dualtk.score.summary import SetScore

INTRODUCTION = "Word errors, emission latency and figures. Click a column's name to sort by it."
WIDE_POINTS = 400.0

SoundOf = Callable[[SetScore, str], Sound | None]


def _figure(drawing: Drawing) -> str:
    """A figure with its title, its caption and a link to its data; a wide one has the page's width for itself."""
    data = quote(drawing.tsv, errors="replace")
    link = f'<a download="{escape(drawing.name)}.tsv" href="data:text/tab-separated-values,{data}">data</a>'
    width = re.search(r'<svg [^>]*width="([0-9.]+)pt"', drawing.svg)
    kind = ' class="wide"' if width and float(width[1]) > WIDE_POINTS else ""
    text = f"<strong>{escape(drawing.title)}.</strong> {escape(drawing.caption)} {link}"
    return f"<figure{kind}><div>{drawing.html()}</div><figcaption>{text}</figcaption></figure>\n"


def _drawn(pictures: Sequence[Picture]) -> str:
    return "".join(_figure(Drawing(one.name, one.svg(), one.table.tsv())) for one in pictures)


def set_pictures(name: str, systems: Mapping[str, Decoded]) -> list[Picture]:
    """Figures of one decoded set: errors by length, latencies, word delays."""
    pictures = [errors_by_length({label: one.scored() for label, one in systems.items()}, f"{name}-wer-by-length")]
    delays = {label: [line.latency for line in one.lines if line.latency is not None] for label, one in systems.items()}
    if any(delays.values()):
        pictures.append(latency_curves({label: each for label, each in delays.items() if each}, f"{name}-latency"))
    latencies = {label: one.score.score["emission_latency"] for label, one in systems.items()}
    words = {label: each["words"] for label, each in latencies.items() if each and each["words"]}
    if words:
        histograms = {label: (each["histogram_start"], each["histogram"]) for label, each in words.items()}
        pictures.append(word_delay_histogram(histograms, f"{name}-word-delays"))
    return pictures


def figures_section(experiments: Sequence[Experiment]) -> str:
    """Figures of every set, of every training, and those that were drawn by `dualtk analyse`."""
    parts = []
    for name, systems in decoded_sets(experiments).items():
        parts.append(f'<h3>{escape(name)}</h3><div class="figures">{_drawn(set_pictures(name, systems))}</div>')
    trained = [one for one in experiments if one.metrics]
    if len(trained) > 1:
        compared = compare_runs({one.name: one.metrics for one in trained})
        parts.append(f'<h3>Trainings compared</h3><div class="figures">{_drawn([compared])}</div>')
    for one in experiments:
        drawn = _drawn(training_pictures(one.metrics, one.name)) if one.metrics else ""
        drawn += "".join(map(_figure, one.drawings))
        parts.append(f'<h3>{escape(one.name)}</h3><div class="figures">{drawn}</div>' if drawn else "")
    return "".join(parts)


def worst_section(experiments: Sequence[Experiment], sound_of: SoundOf, longest: int) -> str:
    """The worst utterances of each set."""
    parts = []
    for name, systems in decoded_sets(experiments).items():
        scored: Systems = {label: {each.utterance: each for each in one.scored()} for label, one in systems.items()}
        score = next(iter(systems.values())).score
        blocks = [
            utterance_block(utterance, scored, sound_of(score, utterance))
            for utterance in worst_utterances(scored, longest)
        ]
        parts.append(f"<h3>{escape(name)}</h3>{''.join(blocks) or '<p>No errors.</p>'}")
    return "".join(parts)


def report(experiments: Sequence[Experiment], sound_of: SoundOf, longest: int = 10) -> str:
    """The whole page.

    Args:
        experiments: one, or several to be set side by side.
        sound_of: the audio of an utterance of a set, or None where it cannot be had.
        longest: worst utterances shown of each set.
    """
    names = ", ".join(one.name for one in experiments)
    sections = [
        Section("results", "Results", tables.results_section(experiments)),
        Section("comparison", "Comparison", tables.comparison_section(experiments)),
        Section("latency", "Emission latency (ms)", tables.latency_section(experiments)),
        Section("compact", "Compact networks", compact_section(experiments)),
        Section("sessions", "Streaming sessions", tables.session_section(experiments)),
        Section("figures", "Figures", figures_section(experiments)),
        Section("errors", "Most frequent errors", tables.errors_section(experiments)),
        Section("worst", "Worst utterances", worst_section(experiments, sound_of, longest)),
        Section("settings", "Configuration", tables.settings_section(experiments)),
    ]
    return page(f"dualtk: {names}", INTRODUCTION, sections)
