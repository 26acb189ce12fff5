"""Batches: what a step of training or decoding consumes, read from a data directory.

B batch, T feature frames, F features, U labels.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from dualtk.data.arks import read_features
from dualtk.data.bad import require_few
from dualtk.data.kaldi import left_out
from dualtk.data.remote import FILE as SHARDS
from dualtk.data.sampler import BatchesOptions, BucketedBatches
from dualtk.data.shard_list import read_shards
from dualtk.data.storage import Source
from dualtk.data.sums import read_sums, require_sum
from dualtk.data.windows import ShardList
from dualtk.errors import InputError
from dualtk.owner import end_with_parent
from dualtk.tables import load_table

FIRST = 100  # utterances that are tried, where the first cannot be read


class UnreadError(InputError):
    """An utterance that cannot be read; it says where and why.

    Args:
        utterance: its name.
        reason: the line.
    """

    def __init__(self, utterance: str, reason: str) -> None:
        super().__init__(utterance, reason)
        self.utterance, self.reason = utterance, reason

    def __str__(self) -> str:
        return self.reason


@dataclass
class Batch:
    """Padded utterances.

    Attributes:
        utterances: B names.
        feats: (B, T, F) float32 raw log-mel energies, 0 beyond lengths.
        feat_lengths: (B,) int64.
        targets: (B, U) int64 token ids 1..V-1, 0 beyond lengths.
        target_lengths: (B,) int64.
        share: what it counts beside those of other processes; see `BucketedBatches.share`.
        unread: utterances that belong to it and could not be read.
        is_own: False where none of it could be read: others stand in, and count nothing.
    """

    utterances: list[str]
    feats: Tensor
    feat_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    share: float = 1.0
    unread: tuple[UnreadError, ...] = ()
    is_own: bool = True

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`; copies overlap with computation where the memory is pinned."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("feats", "feat_lengths", "targets", "target_lengths")
        }
        return replace(self, **moved)

    def select(self, chosen: Tensor) -> Batch:
        """The utterances that `chosen` (B,) bool marks, padded as before."""
        names = [name for name, keep in zip(self.utterances, chosen.tolist()) if keep]
        tensors = ("feats", "feat_lengths", "targets", "target_lengths")
        return replace(self, utterances=names, **{name: getattr(self, name)[chosen] for name in tensors})

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (torch's DataLoader calls this)."""
        pinned = {
            name: getattr(self, name).pin_memory() for name in ("feats", "feat_lengths", "targets", "target_lengths")
        }
        return replace(self, **pinned)


@dataclass(frozen=True)
class Entry:
    """One utterance: `location` is what feats.scp says, or wav.scp or segments; `targets` are its token ids."""

    name: str
    location: str
    num_frames: int
    text: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Selection:
    """The utterances of a data directory in its order, and one line for each that was left out.

    `frames` and `sums` (see `dualtk.data.sums`) of each are there where they were kept (`dualtk.data.columns`), and so
    are `archives`: files, and which of them each utterance is in.
    """

    directory: Path
    entries: Sequence[Entry]
    dropped: list[str]
    frames: NDArray[np.int64] | None = None
    sums: NDArray[np.int64] | None = None
    archives: tuple[Sequence[str], NDArray[np.int64]] | None = None

    def shards(self) -> ShardList | None:
        """In which shard each utterance is, where the directory is one of `dualtk shard`."""
        if self.archives is None and (self.directory / SHARDS).exists():
            places = [entry.location.rpartition(":")[0] for entry in self.entries]
            numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
            return read_shards(self.directory, list(numbers), np.array([numbers[place] for place in places]))
        return None if self.archives is None else read_shards(self.directory, *self.archives)

    def spread(self, most: int | None) -> Selection:
        """At most so many of the utterances, spread evenly over all; None for all."""
        size = len(self.entries)
        if most is None or most >= size:
            return self
        return Selection(self.directory, [self.entries[place * size // most] for place in range(most)], self.dropped)


def select_utterances(
    directory: Path,
    encode: Callable[[str], Sequence[int]] | None = None,
    *,
    min_frames: int = 4,
    max_utterance_frames: int | None = None,
    source: Source = "stored",
) -> Selection:
    """Read feats.scp, utt2num_frames and text of a data directory.

    Args:
        directory: the data directory.
        encode: text to token ids (`Tokenizer.encode`); None where no targets are wanted, then text may be absent.
        min_frames: feature frames of one encoder output frame; a shorter utterance is refused.
        max_utterance_frames: longer utterances are left out, as are those without words, and listed in `dropped`; None
            for no limit.
        source: `audio` reads wav.scp, or segments, instead of feats.scp.

    Raises:
        InputError: a faulty table, an utterance without features or transcript, one too short, or none left.
    """
    feats = load_table(location_table(directory, source))
    frames = load_table(directory / "utt2num_frames")
    has_text = encode is not None or (directory / "text").exists()
    text = load_table(directory / "text", empty_values=True) if has_text else None
    entries: list[Entry] = []
    dropped = left_out(directory)
    for name, location in feats.entries.items():
        if text is not None and name not in text.entries:
            raise InputError(f"{text.path}: utterance {name} of {feats.where(name)} has no transcript")
        if text is not None and not text.entries[name]:
            continue
        count = frames.entries.get(name, "")
        if not count.isdigit():
            raise InputError(f"{frames.where(name)}: utterance {name} has no number of frames")
        num_frames = int(count)
        if num_frames < min_frames:
            raise InputError(
                f"{frames.where(name)}: utterance {name} has {num_frames} frames, "
                f"less than one output frame ({min_frames})"
            )
        if max_utterance_frames is not None and num_frames > max_utterance_frames:
            dropped.append(too_long(frames.where(name), name, num_frames, max_utterance_frames))
            continue
        words = text.entries[name] if text is not None else ""
        targets = tuple(encode(words)) if encode is not None else ()
        entries.append(Entry(name, location, num_frames, words, targets))
    if not entries:
        raise InputError(f"{feats.path}: no utterance is left" + (f"; first: {dropped[0]}" if dropped else ""))
    return Selection(directory, entries, dropped)


def location_table(directory: Path, source: Source) -> Path:
    """The table that says where each utterance of a data directory is."""
    if source == "stored":
        return directory / "feats.scp"
    return directory / ("segments" if (directory / "segments").exists() else "wav.scp")


def too_long(where: str, name: str, num_frames: int, most: int) -> str:
    """What is said of an utterance that is left out for its length; `where` is its line."""
    limit = f"more than batches.max_utterance_frames ({most})"
    return f"{where}: utterance {name} has {num_frames} frames, {limit}: left out"


@dataclass(frozen=True)
class Example:
    """One utterance: feats (T, F) float32, targets (U,) int64; `unread` are parts of it that could not be read."""

    name: str
    feats: Tensor
    targets: Tensor
    unread: tuple[UnreadError, ...] = ()


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
            require_few({one.utterance: one.reason for one in faults}, max_bad, self.directory)

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


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to one batch, in the order given."""
    return Batch(
        utterances=[example.name for example in examples],
        feats=pad_sequence([example.feats for example in examples], batch_first=True),
        feat_lengths=torch.tensor([len(example.feats) for example in examples]),
        targets=pad_sequence([example.targets for example in examples], batch_first=True),
        target_lengths=torch.tensor([len(example.targets) for example in examples]),
    )


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


class _Guarded(Dataset["Batch | InputError"]):
    """A dataset that gives whole batches, and its faults like them: what another process raises comes back as its
    traceback."""

    def __init__(self, dataset: TrainingSet) -> None:
        self.dataset = dataset

    def __getitems__(self, items: Sequence[Any]) -> Batch | InputError:
        """A batch of what can be read."""
        examples: list[Example] = []
        unread: list[UnreadError] = []
        try:
            for item in items:
                try:
                    examples.append(self.dataset[item])
                except UnreadError as error:
                    unread.append(error)
            is_own = bool(examples)
            batch = collate(examples if is_own else [self._other(items[0], unread[0])])
        except InputError as error:
            return error
        parts = [one for example in examples for one in example.unread]
        return replace(batch, unread=(*unread, *parts), is_own=is_own)

    def _other(self, item: Any, fault: UnreadError) -> Example:
        """An utterance in the place of one that cannot be read."""
        for other in islice(self.dataset.instead(item), FIRST):
            with suppress(UnreadError):
                return self.dataset[other]
        raise fault


def _as_it_is(batch: Batch | InputError) -> Batch | InputError:
    return batch


LeaveOut = Callable[[Sequence[UnreadError]], None]


def refuse(unread: Sequence[UnreadError]) -> None:
    """Leave nothing out."""
    raise unread[0]


def _begin_worker(number: int) -> None:
    """A process that reads ends when the one that trains does, in whatever way; signals are for that one."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(one, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)


class BatchLoader:
    """The batches of the epoch and position that a sampler stands at; iterate it once per epoch.

    Args:
        dataset: what is read.
        batches: in what order.
        num_workers: processes that read ahead; 0 reads here.
        pin_memory: for copies to a GPU that overlap with computation.
        leave_out: is told of utterances that cannot be read, and raises where they are too many.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        batches: EpochBatches,
        num_workers: int,
        pin_memory: bool,
        leave_out: LeaveOut,
    ) -> None:
        self.num_workers = num_workers
        self._batches, self._leave_out = batches, leave_out
        self._loader: DataLoader[Batch | InputError] = DataLoader(
            _Guarded(dataset),
            batch_sampler=batches,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # torch takes it for one that gets a list
            num_workers=num_workers,
            pin_memory=pin_memory,
            # Of its own: torch's would be drawn from at each start, and a resumed run would then differ.
            generator=torch.Generator(),
            worker_init_fn=_begin_worker if num_workers else None,
            # From Python 3.14 on the default of Linux imports everything anew in each worker of each epoch: seconds.
            multiprocessing_context="fork" if num_workers and sys.platform == "linux" else None,
        )

    def __iter__(self) -> Iterator[Batch]:
        """The batches.

        Raises:
            InputError: an utterance cannot be read, or a process that reads was killed.
        """
        try:
            for index, batch in enumerate(self._loader):
                if isinstance(batch, InputError):
                    raise batch
                if batch.unread:
                    self._leave_out(batch.unread)
                batch.share = self._batches.share(index) if batch.is_own else 0.0
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise InputError(
                "a process that reads features was killed (no memory left, or little shared memory?): "
                "batches.num_workers=0 reads without such processes"
            ) from error


def batch_loader(
    dataset: TrainingSet,
    batches: EpochBatches,
    num_workers: int = 0,
    pin_memory: bool = False,
    leave_out: LeaveOut = refuse,
) -> BatchLoader:
    """See `BatchLoader`; without `leave_out` every utterance has to be read."""
    return BatchLoader(dataset, batches, num_workers, pin_memory, leave_out)
