"""`utterances.tsv`: one line an utterance with its counts, its delays and its words, for people and for the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.score.align import align
from dualtk.score.latency import UtteranceLatency
from dualtk.score.wer import ScoredUtterance, character_counts, count
from dualtk.trn import speaker_of

UTTERANCE_FILE = "utterances.tsv"
COLUMNS = (
    "utterance",
    "trn_id",
    "words",
    "sub",
    "del",
    "ins",
    "characters",
    "character_errors",
    "last_word_right",
    "latency",
    "first_token",
    "ref",
    "hyp",
)


@dataclass(frozen=True)
class UtteranceLine:
    """An utterance as the table has it; `latency` in seconds, None where the end of speech or the last token lacks."""

    scored: ScoredUtterance
    latency: float | None


def utterance_table(scored: Sequence[ScoredUtterance], delays: Sequence[UtteranceLatency]) -> str:
    """The table as text; delays in seconds, empty where unknown."""
    by_name = {delay.utterance: delay for delay in delays}
    lines = ["\t".join(COLUMNS)]
    for each in scored:
        words, letters, delay = each.words, each.characters, by_name.get(each.utterance)
        right = int(bool(each.pairs) and each.pairs[-1].kind == "C")
        numbers = [words.reference, words.substitutions, words.deletions, words.insertions]
        times = [f"{delay.last:.4f}", f"{delay.first:.4f}"] if delay else ["", ""]
        texts = [
            " ".join(pair.ref for pair in each.pairs if pair.ref is not None),
            " ".join(pair.hyp for pair in each.pairs if pair.hyp is not None),
        ]
        cells = [each.utterance, each.trn_id, *numbers, letters.reference, letters.errors, right, *times, *texts]
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def read_utterances(path: Path) -> list[UtteranceLine]:
    """Read the table back and align the words anew.

    Raises:
        InputError: the file is missing or is not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    lines = []
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise InputError(f"{path}:{number}: lacks a column; run `dualtk score` again")
        pairs = tuple(align(row["ref"].split(), row["hyp"].split()))
        scored = ScoredUtterance(
            row["utterance"],
            row["trn_id"],
            speaker_of(row["trn_id"]),
            pairs,
            count(pairs),
            character_counts(row["ref"], row["hyp"]),
        )
        lines.append(UtteranceLine(scored, float(row["latency"]) if row["latency"] else None))
    return lines
