"""The order of training: length buckets, and batches that (seed, epoch) alone decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import NonNegativeInt, PositiveInt
from torch.utils.data import Sampler

from dualtk.options import Section, Unit


class BatchesOptions(Section):
    """How utterances become batches; see `BucketedBatches`."""

    max_frames: Annotated[PositiveInt, Unit("feature frames")] = 40000
    """Most frames of a batch, padding counted; a longer utterance is a batch by itself."""
    max_utterance_frames: Annotated[PositiveInt, Unit("feature frames")] = 40000
    """Longer utterances are left out of training, and named in the log."""
    num_buckets: Annotated[PositiveInt, Unit("buckets")] = 30
    """Groups of utterances of similar length; a batch is drawn from one."""
    shortest_epochs: Annotated[NonNegativeInt, Unit("epochs")] = 0
    """The first so many epochs go from the shortest utterances to the longest."""
    num_workers: Annotated[NonNegativeInt, Unit("processes")] = 2
    """Processes that read features ahead of training."""
    cache: bool = False
    """Whether all features are read into memory once, without such processes."""

    def build(
        self, lengths: Sequence[int], *, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> BucketedBatches:
        """The batches of utterances of `lengths` feature frames; see `BucketedBatches`."""
        return BucketedBatches(
            lengths,
            self.max_frames,
            self.num_buckets,
            self.shortest_epochs,
            shuffle=shuffle,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )


class BucketedBatches(Sampler[list[int]]):
    """Batches of utterances of similar length, at most `max_frames` padded feature frames each.

    Utterances sorted by length are cut into buckets of about equal frames. Every epoch shuffles each bucket, cuts it
    evenly into batches, and shuffles the batches. The number of batches is the same in every epoch and on every rank,
    and the state is two numbers, epoch and batch index: to resume is to call `start(epoch, batch)`.

    With several ranks the ranks of one step take batches of neighbouring lengths, so that none waits for another.
    Where the batches do not divide by the ranks, a few of the shortest come twice in the epoch.

    Args:
        lengths: feature frames of every utterance.
        max_frames: most padded feature frames in a batch; an utterance longer than that is a batch by itself.
        num_buckets: buckets of length; fewer are used where they would hold less than four batches each.
        shortest_epochs: the first so many epochs go from the shortest batches to the longest (curriculum).
        shuffle: False keeps one fixed order of length in every epoch (for validation and decoding).
        seed: of the order.
        rank, world_size: this process and how many share the epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_frames: int,
        num_buckets: int,
        shortest_epochs: int,
        *,
        shuffle: bool,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        assert 0 <= rank < world_size
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.max_frames = max_frames
        self.seed = seed
        self.shortest_epochs = shortest_epochs
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.buckets = self._make_buckets(num_buckets)
        self.num_batches = -(-sum(self._num_batches(bucket) for bucket in self.buckets) // world_size)
        self.epoch = 0
        self.first_batch = 0

    def _make_buckets(self, num_buckets: int) -> list[np.ndarray]:
        order = np.argsort(self.lengths, kind="stable")
        if len(order) == 0:
            return []
        total = np.cumsum(self.lengths[order])
        usable = max(1, min(num_buckets, int(total[-1] // (4 * self.max_frames))))
        bucket_of = (total - 1) * usable // max(int(total[-1]), 1)
        return [bucket for index in range(usable) if len(bucket := order[bucket_of == index])]

    def _num_batches(self, bucket: np.ndarray) -> int:
        size = max(1, self.max_frames // max(int(self.lengths[bucket].max()), 1))
        return -(-len(bucket) // size)

    def start(self, epoch: int, batch: int = 0) -> None:
        """The next iteration gives the batches of `epoch` from index `batch` of this rank."""
        self.epoch = epoch
        self.first_batch = batch

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of this rank in an epoch: indices of utterances."""
        random = np.random.default_rng((self.seed, epoch))
        every: list[np.ndarray] = []
        for bucket in self.buckets:
            members = random.permutation(bucket) if self.shuffle else bucket
            every += np.array_split(members, self._num_batches(bucket))
        every.sort(key=lambda batch: int(self.lengths[batch].max()))
        missing = self.num_batches * self.world_size - len(every)
        every = [every[index % len(every)] for index in range(missing)] + every
        steps = np.arange(self.num_batches)
        if self.shuffle and epoch >= self.shortest_epochs:
            steps = random.permutation(steps)
        return [every[step * self.world_size + self.rank].tolist() for step in steps]

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch)[self.first_batch :])
