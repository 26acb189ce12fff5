"""What a search asks of a language model, and an n-gram model over tokens that answers, read from an ARPA file.

Shapes: N hypotheses, V vocabulary.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from dualtk.errors import InputError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
LN_10 = math.log(10.0)
MOST_OTHERS = 0.3  # of the words of a file may be no tokens of the network
LONGEST_LINE = 1 << 20  # characters
CACHED_ROWS = 4096  # of V scores each, kept between calls

logger = logging.getLogger("dualtk")

Words = tuple[int, ...]


StateT = TypeVar("StateT")


class LanguageModel(Protocol[StateT]):
    """What a search asks of a language model.

    A state stands for the labels so far. It belongs to a hypothesis, is never changed, and holds all that the model has
    to remember, so that any number of streams and threads may share one model. All hypotheses are asked for at once.
    """

    def start(self) -> StateT:
        """The state before the first label."""
        ...

    def scores(self, states: Sequence[StateT]) -> Tensor:
        """Natural log-probabilities (N, V) of every label after each state; those of blank (0) mean nothing."""
        ...

    def advance(self, states: Sequence[StateT], tokens: Sequence[int]) -> list[StateT]:
        """The state after one more label of each."""
        ...

    def final(self, states: Sequence[StateT]) -> list[float]:
        """Natural log-probability that the utterance ends after each state."""
        ...


@dataclass
class Arpa:
    """The contents of an ARPA file: by n-gram of ids, natural log-probabilities and back-off weights."""

    order: int
    log_probs: dict[Words, float]
    backoffs: dict[Words, float]


class NgramModel:
    """A back-off n-gram model over wordpieces (Katz 1987).

    A state is the longest context of the labels so far that the model knows, in ids.

    Args:
        arpa: the model, in ids of which 0..V-1 are the vocabulary, V is `<s>` and V + 1 is `</s>`.
        vocab_size: V.
    """

    def __init__(self, arpa: Arpa, vocab_size: int) -> None:
        self.arpa = arpa
        self.vocab_size = vocab_size
        self._start, self._end = vocab_size, vocab_size + 1
        # The n-grams that follow each context, as columns of a sparse row.
        followers: dict[Words, tuple[list[int], list[float]]] = {}
        for ngram, log_prob in arpa.log_probs.items():
            if ngram[-1] < vocab_size:
                ids, values = followers.setdefault(ngram[:-1], ([], []))
                ids.append(ngram[-1])
                values.append(log_prob)
        self._followers = {key: (torch.tensor(ids), torch.tensor(values)) for key, (ids, values) in followers.items()}
        self._floor = min(value for ngram, value in arpa.log_probs.items() if ngram[-1] != self._start)
        self._matters = {ngram[:-1] for ngram in arpa.log_probs} | set(arpa.backoffs)  # contexts
        self._rows: dict[Words, Tensor] = {}

    def _known(self, context: Words) -> Words:
        """The longest suffix of `context` that says anything about what follows."""
        context = context[max(0, len(context) - self.arpa.order + 1) :]
        while context and context not in self._matters:
            context = context[1:]
        return context

    def start(self) -> Words:
        """See `LanguageModel.start`."""
        return self._known((self._start,))

    def advance(self, states: Sequence[Words], tokens: Sequence[int]) -> list[Words]:
        """See `LanguageModel.advance`."""
        return [self._known((*state, token)) for state, token in zip(states, tokens)]

    def scores(self, states: Sequence[Words]) -> Tensor:
        """See `LanguageModel.scores`; a label that the model does not know gets its lowest log-probability."""
        return torch.stack([self._row(state) for state in states])

    def _row(self, context: Words) -> Tensor:
        row = self._rows.get(context)
        if row is None:
            row = self._compute(context)
            if len(self._rows) >= CACHED_ROWS:
                self._rows.clear()
            self._rows[context] = row
        return row

    def _compute(self, context: Words) -> Tensor:
        row = torch.full((self.vocab_size,), self._floor)
        for length in range(len(context) + 1):  # from no context to all of it: longer n-grams replace shorter ones
            suffix = context[len(context) - length :]
            row += self.arpa.backoffs.get(suffix, 0.0) if suffix else 0.0
            if suffix in self._followers:
                ids, values = self._followers[suffix]
                row[ids] = values
        return row

    def final(self, states: Sequence[Words]) -> list[float]:
        """See `LanguageModel.final`."""
        return [self._ending(state) for state in states]

    def _ending(self, context: Words) -> float:
        backoff = 0.0
        while context:
            if (ending := (*context, self._end)) in self.arpa.log_probs:
                return backoff + self.arpa.log_probs[ending]
            backoff += self.arpa.backoffs.get(context, 0.0)
            context = context[1:]
        return backoff + self.arpa.log_probs.get((self._end,), self._floor)


def read_arpa(path: Path, pieces: Sequence[str]) -> NgramModel:
    """Read an n-gram model over the wordpieces `pieces` (blank first) from an ARPA file, gzipped or not.

    Its words are tokens as in tokens.txt ("▁HE", "LLO"); n-grams with other words are passed over, and said.

    Raises:
        InputError: the file cannot be read, is no whole ARPA file, or one of other tokens: three in ten of its
            words are none of these.
    """
    ids = {piece: index for index, piece in enumerate(pieces)}
    ids |= {START: len(pieces), END: len(pieces) + 1}
    arpa = Arpa(0, {}, {})
    words: list[str] = []
    try:
        if path.is_char_device():
            raise InputError(f"{path}: is a device")
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            lines = iter(lambda: file.readline(LONGEST_LINE), "")
            for ngram in _ngrams(path, lines):
                arpa.order = max(arpa.order, len(ngram.words))
                if len(ngram.words) == 1 and ngram.words[0] not in (START, END, UNKNOWN):
                    words += ngram.words
                if all(word in ids for word in ngram.words):
                    known = tuple(ids[word] for word in ngram.words)
                    arpa.log_probs[known] = ngram.log_prob
                    if ngram.backoff is not None:
                        arpa.backoffs[known] = ngram.backoff
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    others = [word for word in words if word not in ids]
    if others or not words:
        example = f", such as {others[0]}" if others else ""
        line = f"{path}: {len(others)} of {len(words)} words are no tokens of this network{example}"
        if len(others) >= MOST_OTHERS * len(words):
            raise InputError(f"{line}: a model of words, or of other tokens")
        logger.warning("%s: n-grams with them are left out", line)
    return NgramModel(arpa, len(pieces))


class _Ngram(NamedTuple):
    """A line of an ARPA file, in natural logarithms."""

    words: list[str]
    log_prob: float
    backoff: float | None


def _ngrams(path: Path, lines: Iterable[str]) -> Iterator[_Ngram]:
    """Every n-gram of an ARPA file, whose head says how many there are of each order."""
    order, promised, found = 0, Counter[int](), Counter[int]()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        try:
            if line.startswith("\\") and line.rstrip().endswith("-grams:"):
                order = int(line.strip()[1 : -len("-grams:")])
            elif fields == ["\\end\\"]:
                break
            elif order and fields:
                found[order] += 1
                yield _ngram(fields, order)
            elif fields[:1] == ["ngram"]:
                length, count = "".join(fields[1:]).split("=")
                promised[int(length)] = int(count)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not a line of an ARPA file") from error
    else:
        raise InputError(f"{path}: is cut off: it does not end in \\end\\{_lacking(promised, found)}")
    if promised != found:
        raise InputError(f"{path}: is not whole{_lacking(promised, found)}")


def _ngram(fields: Sequence[str], order: int) -> _Ngram:
    """The n-gram that a line says; ValueError where it is none."""
    words, rest = list(fields[1 : order + 1]), fields[order + 1 :]
    log_prob, *backoff = (float(one) * LN_10 for one in (fields[0], *rest))
    if len(words) < order or len(rest) > 1 or not log_prob <= 0.0 or not all(map(math.isfinite, (log_prob, *backoff))):
        raise ValueError(f"no {order}-gram")
    return _Ngram(words, log_prob, backoff[0] if backoff else None)


def _lacking(promised: Mapping[int, int], found: Mapping[int, int]) -> str:
    """Of the first order that has not as many n-grams as the head of the file says: how many it has."""
    for order in sorted({*promised, *found}):
        if promised.get(order, 0) != found.get(order, 0):
            return f", and has {found.get(order, 0)} of {promised.get(order, 0)} {order}-grams"
    return ""
