"""One process or many: torchrun or srun starts them, and they average their gradients.

torch's DistributedDataParallel would sum in buckets that follow the first backward pass of a process's life: a run that
was continued then differs from one that was not, in the last bits, from three processes on. Here the order is that of
the parameters.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from dualtk.errors import InputError
from dualtk.owner import end_with_parent
from dualtk.train.waiting import PATIENCE, TIMEOUT

BUCKET = 8 << 20  # numbers that travel together
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Gloo")  # another one's end

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among the others."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give `tensors` the values that they have in the first process."""
        if self.size > 1:
            for bucket in _buckets(list(tensors)):
                flat = torch.cat([one.detach().reshape(-1) for one in bucket])
                torch.distributed.broadcast(flat, 0)
                _fill(bucket, flat)

    def average(self, module: nn.Module) -> None:
        """Give the parameters of `module` the mean of their gradients over all processes.

        A gradient that a process lacks counts as zero; what lacks one in all of them goes on without.
        """
        if self.size == 1:
            return
        parameters = [one for one in module.parameters() if one.requires_grad]
        found = torch.tensor([float(one.grad is not None) for one in parameters], device=self.device)
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
        gradients = []
        for one, is_found in zip(parameters, found.tolist()):
            if is_found:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
                gradients.append(one.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([one.reshape(-1) for one in bucket])
            torch.distributed.all_reduce(flat)
            _fill(bucket, flat / self.size)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
            values = values / self.size
        return values

    def gather(self, value: T) -> list[T]:
        """`value` of every process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        found: list[T] = [value] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
        return bool(votes.item())

    def first(self, action: Callable[[], object]) -> None:
        """Have the first process do something; where it refuses, the others end without a word."""
        with self.inside(_done(action) if self.is_main else nullcontext()):
            pass

    @contextmanager
    def inside(self, manager: AbstractContextManager[None]) -> Iterator[None]:
        """Enter `manager` in all processes, or in none: where it refuses one of them, the others end without a word."""
        with ExitStack() as stack:
            fault = None
            try:
                stack.enter_context(manager)
            except InputError as error:
                fault = error
            if self.any(fault is not None):
                raise fault or SystemExit(2)
            yield

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def _done(action: Callable[[], object]) -> Iterator[None]:
    action()
    yield


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """`tensors` in their order, those of one kind of number in groups of about `BUCKET` numbers."""
    for kind in dict.fromkeys(one.dtype for one in tensors):
        bucket: list[Tensor] = []
        for one in tensors:
            if one.dtype == kind:
                bucket.append(one)
                if sum(each.numel() for each in bucket) >= BUCKET:
                    yield bucket
                    bucket = []
        if bucket:
            yield bucket


@torch.no_grad()
def _fill(bucket: Sequence[Tensor], flat: Tensor) -> None:
    for one, values in zip(bucket, torch.split(flat, [one.numel() for one in bucket])):
        one.copy_(values.view_as(one))


def number_of_processes() -> int:
    """How many processes torchrun or srun started, or one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def world(device: str = "auto", timeout: int = TIMEOUT, patience: int = PATIENCE) -> Iterator[World]:
    """The processes that torchrun or srun started (the environment says), or this one alone.

    Args:
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        timeout: seconds that a process waits for what another one has to say.
        patience: seconds that it waits for the others at the start.

    Raises:
        InputError: the processes do not find each other.
    """
    rank, size = int(os.environ.get("RANK", "0")), number_of_processes()
    use_cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(place)
    if size == 1:
        yield World(rank, size, place)
        return
    end_with_parent(signal.SIGKILL)
    try:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=timedelta(seconds=patience)))
        wait = timedelta(seconds=timeout)
        store.set_timeout(wait)
        backend = "nccl" if use_cuda else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
    except torch.distributed.DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"process {rank} of {size}: did not find the others at {where} within {patience} seconds "
            f"({str(error).splitlines()[0]}); --rendezvous HOST:PORT names another place"
        ) from error
    try:
        yield World(rank, size, place)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in LOST):
            raise
        raise SystemExit(1) from None  # it is not this process that has something to say
    finally:
        torch.distributed.destroy_process_group()
