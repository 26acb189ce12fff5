"""The order of an epoch over shards: each is read once, from its beginning to its end, by one process.

The shards of a set are drawn into rounds. In a round every process has as many as `batches.shard_window`, and batches
are made of the utterances of these, bucketed and shuffled as `BucketedBatches` does with a whole set. The batches of
all processes are one order, in which a step takes one of each: so what was taken is a single number, an epoch can go
on with another number of processes, and no utterance is left out or repeated. With another number the shards of a
round are read by several processes until the epoch ends.

Shards that are less than a round, and rounds whose processes cannot have equally many batches, are read by all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ShardList:
    """In which shard each utterance is, and how often an epoch reads each shard.

    Attributes:
        of_utterance: number of the shard of each utterance.
        corpus: number of the corpus that each shard belongs to; shards of one corpus have the same weight.
        weights: how often an epoch reads each shard: twice and a half is twice, and half of the shards of its corpus,
            others in every epoch, a third time.
    """

    of_utterance: Indices
    corpus: Indices
    weights: NDArray[np.float64]

    def read_in(self, epoch: int, seed: int) -> Indices:
        """The shards of an epoch, those of weight 1 once each; their order says nothing."""
        chosen: list[Indices] = []
        for corpus in np.unique(self.corpus):
            members = np.flatnonzero(self.corpus == corpus)
            weight = float(self.weights[members[0]])
            chosen += [members] * int(weight)
            first, last = (round(count * (weight % 1) * len(members)) for count in (epoch, epoch + 1))
            order = np.random.default_rng((seed, int(corpus))).permutation(members)
            chosen.append(order[np.arange(first, last) % len(members)])
        return np.concatenate(chosen)


@dataclass(frozen=True)
class Cut:
    """How utterances become batches of similar length.

    Attributes:
        lengths: feature frames of every utterance.
        max_frames: most padded frames of a batch.
        num_buckets: of which a batch is drawn from one.
        sorts: shortest batches come first (curriculum).
    """

    lengths: Indices
    max_frames: int
    num_buckets: int
    sorts: bool = False

    def buckets(self, indices: Indices, count: int) -> list[Indices]:
        """Utterances by length, in so many groups of about equal frames, some of which may be empty."""
        order = indices[np.argsort(self.lengths[indices], kind="stable")]
        total = np.cumsum(self.lengths[order])
        bucket_of = (total - 1) * count // max(int(total[-1]), 1)
        return [order[bucket_of == index] for index in range(count)]

    def usable(self, indices: Indices) -> int:
        """Buckets that hold four batches each."""
        return max(1, min(self.num_buckets, int(self.lengths[indices].sum()) // (4 * self.max_frames)))

    def batches_of(self, bucket: Indices) -> int:
        """Batches that a bucket becomes."""
        if not len(bucket):
            return 0
        size = max(1, self.max_frames // max(int(self.lengths[bucket].max()), 1))
        return -(-len(bucket) // size)

    def longest(self, batch: Indices) -> int:
        """Frames of its longest utterance."""
        return int(self.lengths[batch].max())

    def split(self, bucket: Indices, count: int, random: np.random.Generator) -> list[Indices]:
        """A bucket as so many batches, the shorter first."""
        return sorted(np.array_split(random.permutation(bucket), count), key=self.longest)


def windowed_order(shards: ShardList, cut: Cut, window: int, processes: int, seed: int, epoch: int) -> list[Indices]:
    """The batches of an epoch, in an order of which each step takes `processes`.

    Args:
        shards: where utterances are.
        cut: how batches are made.
        window: shards of each process whose utterances are shuffled together; fewer where there are not so many.
        processes: that the order is made for.
        seed, epoch: of what is drawn.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(np.sort(shards.read_in(epoch, seed)))
    members = _by_shard(shards.of_utterance)
    size = max(1, min(window, len(order) // processes))
    steps: list[list[Indices]] = []
    rest: list[Indices] = []
    for first in range(0, len(order), size * processes):
        part = order[first : first + size * processes]
        lanes = [_joined(members, part[place : place + size]) for place in range(0, len(part), size)]
        found = _alike(lanes, cut, random) if len(part) == size * processes else None
        if found is None:
            found, left = _pooled(_joined(members, part), cut, random, processes)
            rest += left
        steps += found if cut.sorts else [found[step] for step in random.permutation(len(found)).tolist()]
    rest.sort(key=cut.longest)
    return [batch for step in steps for batch in step] + rest


def _by_shard(of_utterance: Indices) -> Callable[[int], Indices]:
    """The utterances of a shard."""
    order = np.argsort(of_utterance, kind="stable")
    ends = np.searchsorted(of_utterance[order], np.arange(int(of_utterance.max(initial=-1)) + 2))

    def members(shard: int) -> Indices:
        return order[ends[shard] : ends[shard + 1]] if shard + 1 < len(ends) else order[:0]

    return members


def _joined(members: Callable[[int], Indices], shards: Indices) -> Indices:
    return np.concatenate([members(shard) for shard in shards.tolist()])


def _alike(lanes: Sequence[Indices], cut: Cut, random: np.random.Generator) -> list[list[Indices]] | None:
    """Steps in which each process has a batch of its own shards, of about the same length; None: there are none."""
    if not all(len(lane) for lane in lanes):
        return None
    count = min(cut.usable(lane) for lane in lanes)
    steps: list[list[Indices]] = []
    for buckets in zip(*(cut.buckets(lane, count) for lane in lanes)):
        number = max(cut.batches_of(bucket) for bucket in buckets)
        if number > min(len(bucket) for bucket in buckets):
            return None
        steps += map(list, zip(*(cut.split(bucket, number, random) for bucket in buckets))) if number else []
    return steps


def _pooled(
    indices: Indices, cut: Cut, random: np.random.Generator, processes: int
) -> tuple[list[list[Indices]], list[Indices]]:
    """Steps in which processes read the shards of each other, and batches that are less than a step."""
    if not len(indices):
        return [], []
    every = [
        batch
        for bucket in cut.buckets(indices, cut.usable(indices))
        if len(bucket)
        for batch in cut.split(bucket, cut.batches_of(bucket), random)
    ]
    every.sort(key=cut.longest)
    left = len(every) % processes
    return [every[first : first + processes] for first in range(left, len(every), processes)], every[:left]
