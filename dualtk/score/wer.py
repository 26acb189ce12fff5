"""Word and character error rates with their substitutions, deletions and insertions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dualtk.edit_distance import edits
from dualtk.errors import InputError
from dualtk.score.align import Pair, align
from dualtk.score.marks import is_optional, spoken
from dualtk.trn import speaker_of, trn_id


@dataclass(frozen=True)
class Counts:
    """What an alignment counts, over one utterance or many; `+` adds them up."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def reference(self) -> int:
        """Number of reference symbols."""
        return self.correct + self.substitutions + self.deletions

    @property
    def hypothesis(self) -> int:
        """Number of hypothesis symbols."""
        return self.correct + self.substitutions + self.insertions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference symbol, as a fraction (above 1 with many insertions; nan without a reference)."""
        return self.errors / self.reference if self.reference else math.nan


def count(pairs: Iterable[Pair]) -> Counts:
    """The counts of one alignment."""
    kinds = [pair.kind for pair in pairs]
    return Counts(kinds.count("C"), kinds.count("S"), kinds.count("D"), kinds.count("I"))


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of many counts."""
    return sum(counts, Counts())


@dataclass(frozen=True)
class ScoredUtterance:
    """An utterance with its word alignment and its counts of words and characters.

    `trn_id` and `speaker` are in lower case, as sclite prints them; so are the words of `pairs`.
    """

    utterance: str
    trn_id: str
    speaker: str
    pairs: tuple[Pair, ...]
    words: Counts
    characters: Counts


def character_counts(ref: str, hyp: str) -> Counts:
    """Least edit distance over characters, the single space between words being one of them."""
    found = edits(ref, hyp)
    correct = len(ref) - found.substitutions - found.deletions
    return Counts(correct, found.substitutions, found.deletions, found.insertions)


def score_utterance(utterance: str, speaker: str, ref: str, hyp: str) -> ScoredUtterance:
    """Align the words of `hyp` to those of `ref`; case does not count (sclite's default).

    `ref` may hold sclite's marks; characters are counted against the alternatives that were aligned.
    """
    pairs = tuple(align(ref.lower().split(), hyp.lower().split()))
    identity = trn_id(utterance, speaker).lower()
    said = [spoken(pair.ref) for pair in pairs if pair.ref and (pair.hyp or not is_optional(pair.ref))]
    characters = character_counts(" ".join(said), " ".join(pair.hyp for pair in pairs if pair.hyp))
    return ScoredUtterance(utterance, identity, speaker_of(identity), pairs, count(pairs), characters)


def missing_utterances(refs: Mapping[str, str], hyps: Mapping[str, str], where: str) -> list[str]:
    """Utterances of `refs` without a hypothesis, sorted.

    Raises:
        InputError: `hyps`, read from `where`, has an utterance that `refs` lacks.
    """
    unknown = sorted(set(hyps) - set(refs))
    if unknown:
        raise InputError(f"{where}: utterance {unknown[0]} has no reference ({len(unknown)} such utterances)")
    return sorted(set(refs) - set(hyps))


def score_all(
    refs: Mapping[str, str], hyps: Mapping[str, str], speakers: Mapping[str, str], where: str = "hypotheses"
) -> list[ScoredUtterance]:
    """Score every utterance of `refs`, in the order of its ids; one without a hypothesis is all deletions.

    Args:
        refs: words of each utterance, separated by spaces.
        hyps: likewise; may lack utterances, may not have others.
        speakers: speaker of each utterance.
        where: the file that `hyps` came from, for the error message.
    """
    missing_utterances(refs, hyps, where)
    return [score_utterance(utt, speakers[utt], refs[utt], hyps.get(utt, "")) for utt in sorted(refs)]
