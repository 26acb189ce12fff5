"""Where the errors are: word error rate by length of utterance, and what was taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dualtk.analysis.picture import Picture, Table, canvas, decorate
from dualtk.score.sclite_detail import confusions, most_common
from dualtk.score.wer import Counts, ScoredUtterance, total


@dataclass(frozen=True)
class LengthBin:
    """Utterances of `shortest` to `longest` reference words, and their errors."""

    shortest: int
    longest: int
    num: int
    counts: Counts


def length_bins(utterances: Sequence[ScoredUtterance], num_bins: int = 6) -> list[LengthBin]:
    """Up to `num_bins` groups of about as many utterances each, by the number of reference words."""
    spoken = [each.words for each in utterances if each.words.reference]
    if not spoken:
        return []
    lengths = [counts.reference for counts in spoken]
    uppers = np.unique(np.percentile(lengths, np.linspace(0, 100, num_bins + 1)[1:], method="higher"))
    bins, lower = [], 0
    for upper in uppers.tolist():
        group = [counts for counts in spoken if lower < counts.reference <= upper]
        sizes = [counts.reference for counts in group]
        bins.append(LengthBin(min(sizes), max(sizes), len(group), total(group)))
        lower = upper
    return bins


def errors_by_length(systems: Mapping[str, Sequence[ScoredUtterance]], name: str = "wer-by-length") -> Picture:
    """Word error rate against the length of utterances, one line a system."""
    figure, (axes,) = canvas()
    rows: list[list[object]] = []
    for system, utterances in systems.items():
        bins = length_bins(utterances)
        middles = [(each.shortest + each.longest) / 2 for each in bins]
        axes.plot(middles, [100 * each.counts.rate for each in bins], marker="o", markersize=4, label=system)
        rows += [[system, each.shortest, each.longest, each.num, 100 * each.counts.rate] for each in bins]
    axes.set_ylim(bottom=0)
    decorate(axes, "reference words", "WER (%)", legend=bool(rows))
    table = Table(["system", "shortest", "longest", "utterances", "wer_percent"], rows)
    caption = "Word error rate by number of words in the utterance, in groups of about as many utterances."
    return Picture(name, "Errors by length", caption, figure, table)


def frequent_errors(systems: Mapping[str, Sequence[ScoredUtterance]], longest: int = 20) -> Table:
    """The most frequent substitutions, deletions and insertions, and how often each system made them."""
    kinds = {"CONFUSION PAIRS": "substitution", "DELETIONS": "deletion", "INSERTIONS": "insertion"}
    lists = {system: confusions(utterances) for system, utterances in systems.items()}
    rows: list[list[object]] = []
    for name, kind in kinds.items():
        whole = sum((each[name] for each in lists.values()), Counter[str]())
        for words, times in most_common(whole):
            counts = [each[name][words] for each in lists.values()]
            rows.append([kind, words.replace("==>", "\u2192"), times, *counts])
    rows.sort(key=lambda row: -int(str(row[2])))
    return Table(["error", "words", "times", *systems], rows[:longest])
