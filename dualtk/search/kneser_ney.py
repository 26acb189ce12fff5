"""N-gram models over tokens from text: interpolated modified Kneser-Ney (Chen and Goodman 1998), as in KenLM.

An n-gram is one integer: its tokens are digits to the base V + 2, the first the most significant. Token 0 is blank,
which no text has, V is `<s>` and V + 1 is `</s>`. Counts are of n-grams within a sentence; below the highest order they
are of the different tokens before an n-gram, but for one that begins a sentence, before which there is none.

Shapes: N n-grams of one order, in ascending order of their integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualtk.errors import InputError

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

FALLBACK = (0.0, 0.5, 1.0, 1.5)  # discounts where counts of counts say nothing, those of KenLM
LOG10_ZERO = -99.0


@dataclass(frozen=True)
class Order:
    """All n-grams of one order.

    Attributes:
        keys: (N,) the n-grams.
        log_probs: (N,) log10 of the probability of the last token after those before.
        backoffs: (N,) log10 of the weight of the shorter context where a longer n-gram is not there; 0 without one.
    """

    keys: Integers
    log_probs: Floats
    backoffs: Floats


class NgramEstimator:
    """Counts and probabilities of the n-grams of a text.

    Args:
        sentences: token ids 1..V-1 of each.
        vocab_size: V, blank counted.
        order: longest n-grams.

    Raises:
        InputError: no text, or an order of which n-grams are no 63-bit integers.
    """

    def __init__(self, sentences: Sequence[Sequence[int]], vocab_size: int, order: int) -> None:
        self.base = vocab_size + 2
        self.vocab_size = vocab_size
        self.order = order
        if order * math.log2(self.base) >= 63:
            most = int(63 / math.log2(self.base))
            raise InputError(f"order {order}: with {vocab_size} tokens n-grams may be {most} long at most")
        if not sentences:
            raise InputError("a language model needs text, there is none")
        self.counts = self._count(sentences)
        self.adjusted = [*(self._adjusted(n) for n in range(1, order)), self.counts[-1]]

    def _count(self, sentences: Sequence[Sequence[int]]) -> list[tuple[Integers, Integers]]:
        """Keys and occurrences of the n-grams of each order that do not end in `<s>`."""
        start, end = self.vocab_size, self.vocab_size + 1
        stream = np.concatenate([np.array([start, *sentence, end], dtype=np.int64) for sentence in sentences])
        places = np.concatenate([np.arange(len(sentence) + 2) for sentence in sentences])  # in its sentence
        keys, counts = stream, []
        for n in range(1, self.order + 1):
            counts.append(np.unique(keys[places >= max(1, n - 1)], return_counts=True))
            keys = np.concatenate([[0], keys[:-1]]) * self.base + stream
        return counts

    def _adjusted(self, n: int) -> tuple[Integers, Integers]:
        """Keys and different tokens before the n-grams of an order below the highest."""
        keys, counts = self.counts[n - 1]
        begins = keys // self.base ** (n - 1) == self.vocab_size
        after, different = np.unique(self.counts[n][0] % self.base**n, return_counts=True)
        adjusted = np.where(begins, counts, 0)
        adjusted[np.searchsorted(keys, after)] += different
        return keys, adjusted

    def orders(self, least: Sequence[int] = ()) -> list[Order]:
        """The model, up to the longest n-grams that are kept.

        Args:
            least: occurrences that n-grams of order 1, 2, ... must have to be kept, none less than that before it; the
                last holds for higher orders too. Those of order 1 are all kept.
        """
        found = [self._unigrams()]
        for n in range(2, self.order + 1):
            keys, log_probs = self._interpolated(n, found[-1])
            if least:
                kept = self.counts[n - 1][1] >= least[min(n, len(least)) - 1]
                keys, log_probs = keys[kept], log_probs[kept]
            if not len(keys):
                break  # nor has a longer one been seen often enough
            found[-1] = self._with_backoffs(found[-1], n, keys, log_probs)
            found.append(Order(keys, log_probs, np.zeros(len(keys))))
        return found

    def _unigrams(self) -> Order:
        """All tokens, `</s>` among them, and `<s>`, which follows nothing."""
        keys, counts = self.adjusted[0]
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        every = np.array([*range(1, self.vocab_size), self.vocab_size + 1])
        probs = np.full(len(every), discounts.sum() / counts.sum() / len(every))
        probs[np.searchsorted(every, keys)] += (counts - discounts) / counts.sum()
        place = self.vocab_size - 1  # of <s>, before </s>
        log_probs = np.insert(np.log10(probs), place, LOG10_ZERO)
        return Order(np.insert(every, place, self.vocab_size), log_probs, np.zeros(len(every) + 1))

    def _interpolated(self, n: int, lower: Order) -> tuple[Integers, Floats]:
        """Keys and log10 probabilities of order n before pruning; those whose suffix was pruned go with it."""
        keys, counts = self.adjusted[n - 1]
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        _, context = np.unique(keys // self.base, return_inverse=True)
        totals = np.bincount(context, counts)[context]
        weights = np.bincount(context, discounts)[context] / totals
        shorter = 10.0 ** _look_up(lower.keys, lower.log_probs, keys % self.base ** (n - 1))
        return keys, np.log10((counts - discounts) / totals + weights * shorter)

    def _with_backoffs(self, shorter: Order, n: int, keys: Integers, log_probs: Floats) -> Order:
        """The order below n with the weights that make the n-grams `keys` (N,) and what is backed off to sum to one."""
        contexts, context = np.unique(keys // self.base, return_inverse=True)
        own = np.bincount(context, 10.0**log_probs)
        after = np.bincount(context, 10.0 ** _look_up(shorter.keys, shorter.log_probs, keys % self.base ** (n - 1)))
        left, below = np.maximum(1.0 - own, 1e-12), np.maximum(1.0 - after, 1e-12)
        backoffs = np.zeros(len(shorter.keys))
        backoffs[np.searchsorted(shorter.keys, contexts)] = np.log10(left / below)
        return Order(shorter.keys, shorter.log_probs, backoffs)


def _discounts(counts: Integers) -> Floats:
    """What is taken from n-grams that occur 0, 1, 2, and 3 times or more (Chen and Goodman 1998, equation 17)."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array(FALLBACK)
    y = n1 / (n1 + 2 * n2)
    found = [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([one if 0 < one < times or not times else FALLBACK[times] for times, one in enumerate(found)])


def _look_up(keys: Integers, values: Floats, wanted: Integers) -> Floats:
    return values[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)]


def arpa_lines(orders: Sequence[Order], pieces: Sequence[str]) -> Iterator[str]:
    """The lines of an ARPA file; `pieces` are the tokens, blank first."""
    names = [*pieces, "<s>", "</s>"]
    yield "\\data\\\n"
    yield from (f"ngram {n}={len(one.keys)}\n" for n, one in enumerate(orders, start=1))
    for n, one in enumerate(orders, start=1):
        yield f"\n\\{n}-grams:\n"
        digits = one.keys[:, None] // len(names) ** np.arange(n - 1, -1, -1) % len(names)
        rows = zip(digits.tolist(), one.log_probs.tolist(), one.backoffs.tolist())
        for tokens, log_prob, backoff in rows:
            weight = f"\t{backoff:.6f}" if n < len(orders) else ""
            yield f"{log_prob:.6f}\t{' '.join(names[token] for token in tokens)}{weight}\n"
    yield "\n\\end\\\n"
