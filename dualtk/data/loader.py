"""The loader of an epoch: batches read ahead by other processes, and what happens where an utterance cannot be read."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from dualtk.data.batches import Batch, Example, UnreadError, collate
from dualtk.data.dataset import FIRST, EpochBatches, TrainingSet
from dualtk.errors import InputError
from dualtk.owner import end_with_parent


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


def read_batch(dataset: TrainingSet, items: Sequence[Any], leave_out: LeaveOut = refuse) -> Batch:
    """One batch of what can be read; see `BatchLoader`.

    Raises:
        InputError: nothing can.
    """
    batch = _Guarded(dataset).__getitems__(items)
    if isinstance(batch, InputError):
        raise batch
    if batch.unread:
        leave_out(batch.unread)
    return batch
