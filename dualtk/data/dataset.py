"""What training reads, an utterance at a time, and the stored features of a data directory as such.

T feature frames, F features, U labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dualtk.data.arks import read_features
from dualtk.data.bad import require_few
from dualtk.data.batches import Example, UnreadError
from dualtk.data.sampler import BatchesOptions, BucketedBatches
from dualtk.data.selection import Entry, Selection
from dualtk.data.sums import read_sums, require_sum
from dualtk.errors import InputError

FIRST = 100  # utterances that are tried, where the first cannot be read


class EpochBatches(Protocol):
    """Batches that (seed, epoch) decides, on one rank: of what the items of a dataset are known by."""

    def start(self, epoch: int, batch: int = 0, processes: int = 0) -> None:
        """See `BucketedBatches.start`."""
        ...

    def share(self, index: int) -> float:
        """See `BucketedBatches.share`."""
        ...

    def __len__(self) -> int:
        """Batches of this rank in the epoch."""
        ...

    def __iter__(self) -> Iterator[list[Any]]:
        """What each batch is made of."""
        ...


class TrainingSet(Protocol):
    """What training reads: as it is stored, or another in every epoch."""

    dim: int

    def __len__(self) -> int:
        """Utterances."""
        ...

    def batches(self, options: BatchesOptions, *, seed: int, rank: int, world_size: int) -> EpochBatches:
        """The batches of training, on rank `rank` of `world_size`."""
        ...

    def instead(self, item: Any) -> Iterator[Any]:
        """What may be read in the place of an item that cannot be, the same in every run."""
        ...

    def __getitem__(self, index: Any) -> Example:
        """By what a batch is made of.

        Raises:
            UnreadError: the utterance cannot be read.
        """
        ...


class FeatureDataset(Dataset[Example]):
    """The utterances of a selection.

    Args:
        selection: what is read.
        cache: features are read once and for all, not by seeking each time.
        is_finite: refuse features that are not numbers; training leaves out the steps that have them.
        dim: F, where nothing is stored and all is computed from audio (`dualtk.data.drawn`); None: that of the first.
        max_bad: utterances of a cache that may be unreadable; reading one of them raises.

    Attributes:
        lengths: feature frames of each utterance.
        is_stored: whether there are features to read.
        is_large: whether the utterances are no Python objects, for they are too many.
        shards: in which each utterance is, where they are read shard by shard.
    """

    def __init__(
        self,
        selection: Selection,
        cache: bool = False,
        is_finite: bool = False,
        dim: int | None = None,
        max_bad: int = 0,
    ) -> None:
        self.directory = selection.directory
        self.entries = selection.entries
        self.is_finite = is_finite
        self.is_stored, self.is_large = dim is None, selection.frames is not None
        self.shards = selection.shards()
        self.dim = dim or self._first_dim()
        kept = selection.frames is not None
        self.sums = selection.sums if kept else read_sums(self.directory, (entry.name for entry in self.entries))
        self.lengths: NDArray[np.int64] = (
            selection.frames
            if selection.frames is not None
            else np.array([entry.num_frames for entry in self.entries], dtype=np.int64)
        )
        self.cached: list[Tensor | UnreadError] | None = None
        if cache:
            self.cached = [self._read_or_fault(index) for index in range(len(self.entries))]
            faults = [one for one in self.cached if isinstance(one, UnreadError)]
            require_few({one.utterance: one.reason for one in faults}, max_bad, self.directory, len(self.entries))

    def _first_dim(self) -> int:
        """F of the first utterance that can be read; without one, the fault of the first."""
        fault: InputError | None = None
        for entry in self.entries[:FIRST]:
            try:
                return int(self._matrix(entry).shape[-1])
            except InputError as error:
                fault = fault or error
        assert fault is not None
        raise fault

    def _matrix(self, entry: Entry) -> np.ndarray:
        return read_features(self.directory / "feats.scp", entry.name, entry.location, is_finite=self.is_finite)

    def _read(self, index: int) -> Tensor:
        entry = self.entries[index]
        matrix = self._matrix(entry)
        if matrix.shape != (entry.num_frames, self.dim):
            raise InputError(
                f"{self.directory / 'feats.scp'}: utterance {entry.name} has features {tuple(matrix.shape)}, "
                f"expected {(entry.num_frames, self.dim)}"
            )
        if self.sums is not None:
            require_sum(matrix, int(self.sums[index]), f"{entry.location}: utterance {entry.name}")
        return torch.tensor(matrix, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.entries)

    def batches(self, options: BatchesOptions, *, seed: int, rank: int, world_size: int) -> BucketedBatches:
        """See `TrainingSet`."""
        return options.build(
            self.lengths, shuffle=True, seed=seed, rank=rank, world_size=world_size, shards=self.shards
        )

    def instead(self, item: int) -> Iterator[int]:
        """See `TrainingSet.instead`."""
        return ((item + step) % len(self) for step in range(1, len(self)))

    def _read_or_fault(self, index: int) -> Tensor | UnreadError:
        try:
            return self._read(index)
        except InputError as error:
            return UnreadError(self.entries[index].name, str(error))

    def __getitem__(self, index: int) -> Example:
        """An utterance.

        Raises:
            UnreadError: it cannot be read, or its features are not those that were written.
        """
        entry = self.entries[index]
        feats = self.cached[index] if self.cached is not None else self._read_or_fault(index)
        if isinstance(feats, UnreadError):
            raise feats
        return Example(entry.name, feats, torch.tensor(entry.targets, dtype=torch.int64))
