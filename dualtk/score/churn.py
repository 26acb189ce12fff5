"""How often a streaming session takes words back (unstable partial word ratio, Shangguan et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dualtk.tables import number_in, read_jsonl, text_in


@dataclass(frozen=True)
class Partial:
    """What a session showed from `time` (seconds of audio) on."""

    time: float
    text: str


@dataclass(frozen=True)
class Churn:
    """Words taken back on the way to the final result.

    Attributes:
        unstable_words: words shown and then changed or removed, summed over all revisions.
        revisions: how often a partial result took words back.
        final_words: words of the last result.
        settled: time after which nothing was taken back any more; None if nothing ever was.
    """

    unstable_words: int
    revisions: int
    final_words: int
    settled: float | None

    @property
    def ratio(self) -> float:
        """Unstable words per word of the final result (0 for a session that ends empty and took nothing back)."""
        if not self.final_words:
            return float(self.unstable_words)
        return self.unstable_words / self.final_words


def taken_back(before: Sequence[str], after: Sequence[str]) -> int:
    """Words of `before` from the first that `after` changes to the end.

    A last word that only grows (the first tokens of a longer word) was not wrong, and is not counted.
    """
    for index, word in enumerate(before):
        if index >= len(after):
            return len(before) - index
        grows = index == len(before) - 1 and after[index].startswith(word)
        if after[index] != word and not grows:
            return len(before) - index
    return 0


def read_partials(path: Path) -> dict[str, list[Partial]]:
    """The partial results of streaming sessions: `{"utt": ..., "partials": [[seconds, text], ...]}` a line.

    Raises:
        InputError: a line is not of that form.
    """
    return dict(read_jsonl(path, _session, "partial results"))


def _session(entry: Any) -> tuple[str, list[Partial]]:
    return text_in(entry, "utt"), [Partial(number_in(time), str(text)) for time, text in entry["partials"]]


def total_churn(churns: Iterable[Churn]) -> Churn:
    """The churn of many sessions together; when the last of them settled is not kept."""
    sessions = list(churns)
    return Churn(
        sum(each.unstable_words for each in sessions),
        sum(each.revisions for each in sessions),
        sum(each.final_words for each in sessions),
        None,
    )


def churn(partials: Sequence[Partial]) -> Churn:
    """Follow one session's partial results, in order of time, the final result last."""
    unstable, revisions, settled = 0, 0, None
    for before, after in pairwise(partials):
        words = taken_back(before.text.split(), after.text.split())
        if words:
            unstable, revisions, settled = unstable + words, revisions + 1, after.time
    final = len(partials[-1].text.split()) if partials else 0
    return Churn(unstable, revisions, final, settled)
