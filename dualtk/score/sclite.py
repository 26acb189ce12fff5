"""The two summary tables of sclite (`-o sum` and `-o rsum`), character by character."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dualtk.score.wer import Counts, ScoredUtterance, total

PAGE_WIDTH = 80
HEADER = [" SPKR", " # Snt", "# Wrd", "Corr", " Sub", " Del", " Ins", " Err", "S.Err"]
BAR_AFTER = (0, 2)  # columns followed by a bar rather than a space
ZERO_NOTE = (
    "\n* No Reference words for this/these speaker(s).  Word counts supplied\n"
    "  rather than percents.\n"
    "# No Reference words for this/these speaker(s).  NCE not computable.\n"  # codespell:ignore nce
    "+ Speaker(s) with no reference data is ignored\n"
)


@dataclass(frozen=True)
class SpeakerScore:
    """One line of the table: a speaker's sentences, words and errors."""

    name: str
    sentences: int
    wrong_sentences: int
    counts: Counts

    def values(self, percent: bool) -> list[float]:
        """Corr, Sub, Del, Ins, Err, S.Err; as percentages of words (of sentences for the last) or as counts.

        Without reference words there are no percentages of words, and sclite gives the counts.
        """
        counts = self.counts
        words = [counts.correct, counts.substitutions, counts.deletions, counts.insertions, counts.errors]
        if not percent:
            return [*map(float, words), float(self.wrong_sentences)]
        if counts.reference:
            return [*(percentage(value, counts.reference) for value in words), self.sentence_error()]
        return [*map(float, words), self.sentence_error()]

    def sentence_error(self) -> float:
        """Percentage of sentences with an error."""
        return percentage(self.wrong_sentences, self.sentences)


def percentage(part: float, whole: float) -> float:
    """`part` of `whole` in percent; 0 of nothing."""
    return part / whole * 100.0 if whole else 0.0


def rounded(value: float, digits: int) -> float:
    """Round half away from zero, as C's cast does and Python's `round` does not."""
    scale = 10.0**digits
    return math.trunc(value * scale + (0.5 if value > 0 else -0.5)) / scale


def by_speaker(utterances: Sequence[ScoredUtterance]) -> dict[str, list[ScoredUtterance]]:
    """Utterances grouped by speaker, in order of first appearance."""
    groups: dict[str, list[ScoredUtterance]] = {}
    for utterance in utterances:
        groups.setdefault(utterance.speaker, []).append(utterance)
    return groups


def speaker_score(name: str, utterances: Sequence[ScoredUtterance]) -> SpeakerScore:
    """Add up the utterances of one speaker."""
    wrong = sum(utterance.words.errors > 0 for utterance in utterances)
    return SpeakerScore(name, len(utterances), wrong, total(utterance.words for utterance in utterances))


def _number(value: float, digits: int, mark: str = " ") -> str:
    return f"{rounded(value, digits):5.{digits}f}{mark}"


def _speaker_row(score: SpeakerScore, percent: bool) -> list[str]:
    digits = 1 if percent else 0
    values = score.values(percent)
    words = [_number(value, digits) for value in values[:-1]]
    if percent and not score.counts.reference:
        words = [_number(value, 0, "*") for value in values[:-1]]
    head = [f" {score.name} ", f"{score.sentences:5d}", f"{score.counts.reference:5d}"]
    return [*head, *words, _number(values[-1], digits)]


def _statistics_rows(scores: Sequence[SpeakerScore], percent: bool) -> list[list[str]]:
    """Mean, standard deviation and median over speakers; those without words count for sentences only."""
    spoken = [score for score in scores if score.counts.reference] if percent else list(scores)
    mark = " " if len(spoken) == len(scores) else "+"
    sizes = [[float(score.sentences) for score in scores], [float(score.counts.reference) for score in scores]]
    rates = list(zip(*(score.values(percent)[:-1] for score in spoken))) or [(0.0,)] * 5
    sentence_errors = [score.values(percent)[-1] for score in scores]

    def deviation(values: Sequence[float]) -> float:
        return statistics.stdev(values) if len(values) > 1 else 0.0

    rows = []
    for label, measure in ((" Mean ", statistics.fmean), (" S.D. ", deviation), ("Median", statistics.median)):
        cells = [_number(measure(values), 1) for values in sizes]
        cells += [_number(measure(values), 1, mark) for values in rates]
        rows.append([label, *cells, _number(measure(sentence_errors), 1)])
    return rows


def _layout(title: str, rows: Sequence[Sequence[str]]) -> list[int]:
    """Widths of the columns; a title wider than the table stretches them evenly."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    spare = max(0, len(title) - (sum(widths) + len(widths) - 1))
    stretched, given = [], 0
    for column, width in enumerate(widths):
        last = column == len(widths) - 1
        share = spare - given if last else int(rounded(spare / len(widths) * (column + 1), 0)) - given
        given += share
        stretched.append(width + share)
    return stretched


def _cell(text: str, text_width: int, column_width: int, centred: bool) -> str:
    """sclite pads within the widest text of the column first, then within the stretched column."""
    if centred:
        front = (text_width - len(text)) // 2
        text = " " * front + text
    front = (column_width - text_width) // 2
    return (" " * front + text.ljust(text_width)).ljust(column_width)


def _rule(mark: str, widths: Sequence[int], crossed: bool) -> str:
    joints = ["+" if crossed and column in BAR_AFTER else mark for column in range(len(widths) - 1)]
    pieces = [mark * width + joint for width, joint in zip(widths, [*joints, ""])]
    return "|" + "".join(pieces) + "|"


def summary_table(title: str, utterances: Sequence[ScoredUtterance], percent: bool) -> str:
    """The table of scores by speaker: in percent (`-o sum`), or as counts (`-o rsum`).

    Args:
        title: name of the system; sclite uses the name of the hypothesis file.
        utterances: in the order of the hypothesis file.
        percent: which of the two tables.
    """
    groups = by_speaker(utterances)
    scores = [speaker_score(name, group) for name, group in groups.items()]
    everyone = speaker_score(" Sum/Avg" if percent else " Sum", utterances)
    total_row = [everyone.name, *_speaker_row(everyone, percent)[1:]]
    if percent and not everyone.counts.reference:
        total_row[3:8] = [_number(0.0, 1)] * 5
    speaker_rows = [_speaker_row(score, percent) for score in scores]
    rows = [HEADER, *speaker_rows, total_row, *_statistics_rows(scores, percent)]

    text_widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    widths = _layout(title, rows)
    inner = sum(widths) + len(widths) - 1

    def line(row: Sequence[str], centre_first: bool = False) -> str:
        cells = [
            _cell(text, text_widths[column], widths[column], centred=column > 0 or centre_first)
            for column, text in enumerate(row)
        ]
        joints = ["|" if column in BAR_AFTER else " " for column in range(len(cells) - 1)] + [""]
        return "|" + "".join(cell + joint for cell, joint in zip(cells, joints)) + "|"

    lines = ["," + "-" * inner + ".", "|" + _cell(title, len(title), inner, True) + "|", "|" + "-" * inner + "|"]
    lines.append(line(HEADER))
    for row in speaker_rows:
        lines += [_rule("-", widths, crossed=True), line(row)]
    lines += [_rule("=", widths, crossed=False), line(total_row), _rule("=", widths, crossed=False)]
    lines += [line(row, centre_first=True) for row in rows[-3:]]
    lines.append("`" + "-" * inner + "'")

    margin = " " * max(0, (PAGE_WIDTH - (inner + 2)) // 2)
    heading = "SYSTEM SUMMARY PERCENTAGES by SPEAKER"
    centred = _cell(heading, PAGE_WIDTH, PAGE_WIDTH, True)
    note = ZERO_NOTE if percent and any(not score.counts.reference for score in scores) else ""
    return f"\n\n\n{centred}\n\n" + "".join(f"{margin}{each}\n" for each in lines) + note
