"""`utterances.tsv`: one line an utterance with its counts, its delays and its words, for people and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.errors import InputError
from dualtk.score.align import Pair
from dualtk.score.latency import UtteranceLatency
from dualtk.score.wer import Counts, ScoredUtterance, count
from dualtk.tables import finite, read_lines
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
    "character_sub",
    "character_del",
    "character_ins",
    "last_word_right",
    "latency",
    "first_token",
    "alignment",
    "ref",
    "hyp",
)
MOVES = {(True, True): "=", (True, False): "-", (False, True): "+"}  # words of reference and hypothesis in a column


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
        numbers = [
            number
            for counts in (words, letters)
            for number in (counts.reference, counts.substitutions, counts.deletions, counts.insertions)
        ]
        moves = "".join(MOVES[pair.ref is not None, pair.hyp is not None] for pair in each.pairs)
        times = [f"{delay.last:.4f}", f"{delay.first:.4f}"] if delay else ["", ""]
        texts = [
            " ".join(pair.ref for pair in each.pairs if pair.ref is not None),
            " ".join(pair.hyp for pair in each.pairs if pair.hyp is not None),
        ]
        cells = [each.utterance, each.trn_id, *numbers, right, *times, moves, *texts]
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def read_utterances(path: Path) -> list[UtteranceLine]:
    """Read the table back.

    Raises:
        InputError: the file is missing or is not such a table.
    """
    header, *rows = [line.split("\t") for line in read_lines(path)] or [[]]
    if tuple(header) != COLUMNS:
        raise InputError(f"{path}: is not a table of this dualtk; run `dualtk score` again")
    lines = []
    for number, row in enumerate(rows, start=2):
        try:
            lines.append(_line(dict(zip(COLUMNS, row, strict=True))))
        except ValueError as error:
            raise InputError(f"{path}:{number}: is not a scored utterance; run `dualtk score` again") from error
    return lines


def _line(row: Mapping[str, str]) -> UtteranceLine:
    """A line of the table; ValueError where it is not one."""
    moves, refs, hyps = row["alignment"], row["ref"].split(), row["hyp"].split()
    both, lost, put = (moves.count(move) for move in MOVES.values())
    if (both + lost, both + put, both + lost + put) != (len(refs), len(hyps), len(moves)):
        raise ValueError("the alignment is not one of these words")
    ref, hyp = iter(refs), iter(hyps)
    pairs = tuple(Pair(next(ref) if move != "+" else None, next(hyp) if move != "-" else None) for move in moves)
    wrong = [int(row[f"character_{kind}"]) for kind in ("sub", "del", "ins")]
    letters = Counts(int(row["characters"]) - wrong[0] - wrong[1], *wrong)
    speaker = speaker_of(row["trn_id"])
    scored = ScoredUtterance(row["utterance"], row["trn_id"], speaker, pairs, count(pairs), letters)
    return UtteranceLine(scored, finite(row["latency"]) if row["latency"] else None)
