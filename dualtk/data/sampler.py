"""The order of training: length buckets, and batches that (seed, epoch) alone decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from torch.utils.data import Sampler

from dualtk.data.windows import Cut, ShardList, windowed_order
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
    shard_window: Annotated[PositiveInt, Unit("shards")] = 8
    """Of a training set in shards (`dualtk shard`): so many of each process are shuffled together."""

    def build(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shards: ShardList | None = None,
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
            shards=shards,
            window=self.shard_window,
        )


class BucketedBatches(Sampler[list[int]]):
    """Batches of utterances of similar length, at most `max_frames` padded feature frames each.

    Utterances sorted by length are cut into buckets of about equal frames. Every epoch shuffles each bucket, cuts it
    evenly into batches, and puts all batches into one order. The number of batches is the same in every epoch.

    With several processes a step takes so many of the order. It is made so that these are of neighbouring lengths, and
    none waits for another; what is less than a step comes last, and a process that gets nothing of it works on a batch
    of the others that counts nothing. So every utterance counts once in an epoch. The state is the epoch, how many of
    its batches were taken, and the number of processes that its order was made for: any other number goes on there.

    Args:
        lengths: feature frames of every utterance.
        max_frames: most padded feature frames in a batch; an utterance longer than that is a batch by itself.
        num_buckets: buckets of length; fewer are used where they would hold less than four batches each.
        shortest_epochs: the first so many epochs go from the shortest batches to the longest (curriculum).
        shuffle: False keeps one fixed order of length in every epoch (for validation and decoding).
        seed: of the order.
        rank, world_size: this process and how many share the epoch.
        shards: where utterances are that are read shard by shard; then an epoch is that of `windowed_order`, and may
            have another number of batches than the one before.
        window: shards of each process that are shuffled together.
    """

    def __init__(
        self,
        lengths: Sequence[int] | NDArray[np.int64],
        max_frames: int,
        num_buckets: int,
        shortest_epochs: int,
        *,
        shuffle: bool,
        seed: int,
        rank: int,
        world_size: int,
        shards: ShardList | None = None,
        window: int = 1,
    ) -> None:
        assert 0 <= rank < world_size
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.max_frames = max_frames
        self.seed = seed
        self.shortest_epochs = shortest_epochs
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.shards, self.window, self.num_buckets = shards, window, num_buckets
        self.buckets = self._make_buckets(num_buckets) if shards is None else []
        self.num_batches = sum(self._num_batches(bucket) for bucket in self.buckets)
        self.start(0)

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

    def start(self, epoch: int, batch: int = 0, processes: int = 0) -> None:
        """The next iteration gives this rank's batches of `epoch`.

        Args:
            epoch: which.
            batch: how many of its order all ranks together have taken.
            processes: for which its order is made; 0: those that there are.
        """
        self.epoch, self.first_batch, self.processes = epoch, batch, processes
        if self.shards is not None:
            self._order = self.order(epoch, processes)
            self.num_batches = len(self._order)

    def order(self, epoch: int, processes: int = 0) -> list[np.ndarray]:
        """All batches of an epoch, indices of utterances, for so many processes (0: those that there are)."""
        if self.shards is not None:
            cut = Cut(self.lengths, self.max_frames, self.num_buckets, not self.shuffle or epoch < self.shortest_epochs)
            processes = processes or self.world_size
            return windowed_order(self.shards, cut, self.window, processes, self.seed, epoch)
        random = np.random.default_rng((self.seed, epoch))
        every: list[np.ndarray] = []
        for bucket in self.buckets:
            members = random.permutation(bucket) if self.shuffle else bucket
            every += np.array_split(members, self._num_batches(bucket))
        every.sort(key=lambda batch: int(self.lengths[batch].max()))
        if not self.shuffle or epoch < self.shortest_epochs:
            return every
        processes = processes or self.world_size
        left = len(every) % processes  # the shortest come last where they are less than a step
        steps = random.permutation(np.arange(len(every) // processes))
        taken = [left + step * processes + rank for step in steps.tolist() for rank in range(processes)]
        return [every[index] for index in (*taken, *range(left))]

    def batches(self, epoch: int) -> list[list[int]]:
        """The batches of this rank in a whole epoch."""
        return list(self._of_rank(self.order(epoch)))

    def _of_rank(self, order: list[np.ndarray]) -> Iterator[list[int]]:
        for first in range(0, len(order), self.world_size):
            yield order[first + self.rank if first + self.rank < len(order) else first].tolist()

    def share(self, index: int) -> float:
        """What batch `index` of this iteration counts: one, but in a step that not all ranks have a batch of their own
        in, so that the mean over all ranks is one over these batches."""
        left = self.num_batches - self.first_batch - index * self.world_size
        if left >= self.world_size:
            return 1.0
        return self.world_size / left if self.rank < left else 0.0

    def __len__(self) -> int:
        """Batches of each rank in a whole epoch."""
        return -(-self.num_batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch, self.processes) if self.shards is None else self._order
        return self._of_rank(order[self.first_batch :])
