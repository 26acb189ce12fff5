"""Sentences as tokens, and the batches of an epoch.

Shapes: S sentences, N tokens of all, B batch, U labels.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualtk.errors import InputError


@dataclass(frozen=True)
class Sentences:
    """The sentences of a text, one after the other in memory.

    Attributes:
        tokens: (N,) int32 ids 1..V-1.
        starts: (S + 1,) int64 places at which they begin, and N.
        num_words: words of the text, for perplexities of words.
    """

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]
    num_words: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(S,) tokens of each."""
        return np.diff(self.starts)

    @property
    def num_predicted(self) -> int:
        """Tokens and ends of sentences: all that a model predicts."""
        return len(self.tokens) + len(self)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Labels (B, U), zeros behind the shorter ones, and lengths (B,)."""
        rows = [self[index] for index in indices]
        lengths = torch.tensor([len(row) for row in rows])
        labels = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for target, row in zip(labels, rows):
            target[: len(row)] = torch.from_numpy(row.astype(np.int64))
        return labels, lengths


def collect(encoded: Iterable[tuple[int, Sequence[int]]], longest: int) -> Sentences:
    """The sentences of `encoded`, each with its number of words; those of more than `longest` tokens are cut.

    Raises:
        InputError: there are none.
    """
    tokens, starts, words = array("i"), array("q", [0]), 0
    for count, ids in encoded:
        words += count
        for first in range(0, max(1, len(ids)), longest):
            tokens.extend(ids[first : first + longest])
            starts.append(len(tokens))
    if len(starts) == 1:
        raise InputError("a language model needs text, there is none")
    return Sentences(np.array(tokens, dtype=np.int32), np.array(starts, dtype=np.int64), words)


def epoch_batches(lengths: NDArray[np.int64], max_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The sentences of each batch of an epoch, which follow from `seed` and `epoch` alone; equally many in each epoch.

    Args:
        lengths: (S,) of the sentences.
        max_tokens: sentences of a batch times its longest with its end; a longer sentence is alone.
        seed: of the order.
        epoch: from 0.
    """
    order = np.random.default_rng([seed, epoch])
    mixed = order.permutation(len(lengths))
    mixed = mixed[np.argsort(lengths[mixed], kind="stable")]  # batches of like lengths, mixed among equal ones
    batches = list(_cut(mixed, lengths[mixed] + 1, max_tokens))
    return [batches[index] for index in order.permutation(len(batches))]


def _cut(order: NDArray[np.int64], sizes: NDArray[np.int64], most: int) -> Iterator[NDArray[np.int64]]:
    """Pieces of `order`, whose `sizes` ascend, each of at most `most` with what fills it up."""
    first = 0
    for place, size in enumerate(sizes.tolist()):
        if place > first and (place + 1 - first) * size > most:
            yield order[first:place]
            first = place
    yield order[first:]
