"""sclite's word by word reports: the alignments (`-o pralign`) and the lists of confusions (`-o dtl`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from dualtk.score.align import Pair
from dualtk.score.sclite import by_speaker, percentage, rounded, summary_table
from dualtk.score.wer import ScoredUtterance, total

LINE_WIDTH = 1000
LONGEST_STARS = 40
RULE = "-------"


def _columns(pair: Pair) -> tuple[str, str, str]:
    """The reference, hypothesis and evaluation cells: errors in capitals, stars where a word is missing."""
    if pair.kind == "C":
        return pair.ref or "", pair.hyp or "", ""
    ref = (pair.ref or "*" * min(LONGEST_STARS, len(pair.hyp or ""))).upper()
    hyp = (pair.hyp or "*" * min(LONGEST_STARS, len(pair.ref or ""))).upper()
    return ref, hyp, pair.kind


def _passes(pairs: Sequence[Pair]) -> Iterable[Sequence[Pair]]:
    """Cut an alignment into printed lines; sclite counts before it prints, and leaves the word that overflows.

    A word that is longer than a line has one to itself.
    """
    used = 0
    while used < len(pairs):
        length, end = (9 if used else 6), used
        while length < LINE_WIDTH and end < len(pairs):
            length += 1 + max(len(pairs[end].ref or "*"), len(pairs[end].hyp or "*"))
            end += 1
        if end < len(pairs):
            end = max(end - 1, used + 1)
        yield pairs[used:end]
        used = end


def _aligned(utterance: ScoredUtterance) -> str:
    counts = utterance.words
    text = f"id: ({utterance.trn_id})\nScores: (#C #S #D #I) "
    text += f"{counts.correct} {counts.substitutions} {counts.deletions} {counts.insertions}\n"
    for number, pairs in enumerate(_passes(utterance.pairs)):
        prefix = ">> " if number else ""
        text += "\n" if number else ""
        columns = [_columns(pair) for pair in pairs]
        widths = [max(len(ref), len(hyp)) for ref, hyp, _ in columns]
        for row, name in enumerate(("REF:  ", "HYP:  ", "Eval: ")):
            cells = "".join(cell[row].ljust(width) + " " for cell, width in zip(columns, widths))
            text += f"{prefix}{name}{cells}\n"
    return text + "\n"


def alignments(title: str, utterances: Sequence[ScoredUtterance]) -> str:
    """Every utterance with its words aligned (`sclite -o pralign`)."""
    groups = by_speaker(utterances)
    parts = [f"\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\nSystem name:   {title}\n\nSpeakers: \n"]
    parts += [f"   {number:2d}:  {name}\n" for number, name in enumerate(groups)]
    parts.append("\n")
    for number, (name, group) in enumerate(groups.items()):
        parts.append(f"Speaker sentences{number:4d}:  {name}   #utts: {len(group)}\n")
        parts += [_aligned(utterance) for utterance in group]
    return "".join(parts) + "\n"


def result_text(title: str, utterances: Sequence[ScoredUtterance]) -> str:
    """What `sclite -r ref.trn trn -h TITLE trn -i rm -o all stdout` prints."""
    tables = summary_table(title, utterances, percent=True) + summary_table(title, utterances, percent=False)
    return tables + alignments(title, utterances)


def confusions(utterances: Iterable[ScoredUtterance]) -> dict[str, Counter[str]]:
    """How often each word was wrong, by sclite's five lists; a pair reads `ref ==> hyp`."""
    lists: dict[str, Counter[str]] = {
        name: Counter()
        for name in ("CONFUSION PAIRS", "INSERTIONS", "DELETIONS", "SUBSTITUTIONS", "FALSELY RECOGNIZED")
    }
    for pair in (pair for utterance in utterances for pair in utterance.pairs):
        if pair.kind == "I":
            lists["INSERTIONS"][pair.hyp or ""] += 1
        elif pair.kind == "D":
            lists["DELETIONS"][pair.ref or ""] += 1
        elif pair.kind == "S":
            lists["CONFUSION PAIRS"][f"{pair.ref} ==> {pair.hyp}"] += 1
            lists["SUBSTITUTIONS"][pair.ref or ""] += 1
            lists["FALSELY RECOGNIZED"][pair.hyp or ""] += 1
    return lists


def most_common(counter: Counter[str]) -> list[tuple[str, int]]:
    """Words by falling count, then by the alphabet."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _listing(name: str, counter: Counter[str]) -> str:
    text = f"{name:<30}   Total                 ({len(counter)})\n"
    text += f"{'':<30}   With >=  1 occurrences ({len(counter)})\n\n"
    for order, (word, number) in enumerate(most_common(counter), start=1):
        text += f"{order:4d}: {number:4d}  ->  {word}\n"
    return text + f"     {RULE}\n     {sum(counter.values()):5d}\n\n"


def _overall(title: str, utterances: Sequence[ScoredUtterance]) -> str:
    """The head of the detailed report: sentences and words, in percent and counts."""
    counts = total(utterance.words for utterance in utterances)

    def sentences(name: str, attribute: str) -> str:
        wrong = sum(getattr(utterance.words, attribute) > 0 for utterance in utterances)
        share = rounded(percentage(wrong, len(utterances)), 1)
        return f"{name:<40}{share:5.1f}%   ({wrong:4d})\n"

    def words(name: str, number: int) -> str:
        share = f"{rounded(percentage(number, counts.reference), 1):5.1f}%" if counts.reference else "UNDEF%"
        return f"{name:<26}=  {share}   ({number:4d})\n"

    accuracy = f"{rounded(100.0 - percentage(counts.errors, counts.reference), 1):5.1f}%"
    return (
        f"DETAILED OVERALL REPORT FOR THE SYSTEM: {title}\n\nSENTENCE RECOGNITION PERFORMANCE\n\n"
        f" sentences                                        {len(utterances):4d}\n"
        + sentences(" with errors", "errors")
        + "\n"
        + sentences("   with substitions", "substitutions")  # sclite's own spelling, codespell:ignore substitions
        + sentences("   with deletions", "deletions")
        + sentences("   with insertions", "insertions")
        + "\n\nWORD RECOGNITION PERFORMANCE\n\n"
        + words("Percent Total Error", counts.errors)
        + "\n"
        + words("Percent Correct", counts.correct)
        + "\n"
        + words("Percent Substitution", counts.substitutions)
        + words("Percent Deletions", counts.deletions)
        + words("Percent Insertions", counts.insertions)
        + f"Percent Word Accuracy     =  {accuracy if counts.reference else 'UNDEF%'}\n\n\n"
        + f"Ref. words                =           ({counts.reference:4d})\n"
        + f"Hyp. words                =           ({counts.hypothesis:4d})\n"
        + f"Aligned words             =           ({counts.reference + counts.insertions:4d})\n"
    )


def detail_text(title: str, utterances: Sequence[ScoredUtterance]) -> str:
    """What `sclite ... -o dtl stdout` prints: totals, confusion pairs, and the words inserted, deleted, substituted."""
    text = _overall(title, utterances)
    for name, counter in confusions(utterances).items():
        text += "\n" + _listing(name, counter) + "\n"
        if name == "SUBSTITUTIONS":
            text += "* NOTE: The 'Substitution' words are those reference words\n"
            text += "        for which the recognizer supplied an incorrect word.\n\n"
        if name == "FALSELY RECOGNIZED":
            text += "* NOTE: The 'Falsely Recognized' words are those hypothesis words\n"
            text += "        which the recognizer incorrectly substituted for a reference word.\n\n"
    return text
