"""One process or many: torchrun starts them, DDP averages their gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed

# Its functions take the process group of the moment of import as a default argument. DDP imports it, and would so keep
# the group and its threads beyond `destroy_process_group`: one that wants the interpreter while it ends aborts the
# process.
import torch.distributed.nn.functional
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


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

    def wrap(self, objective: nn.Module, find_unused: bool) -> nn.Module:
        """`objective` for training: itself alone, or under DDP. Its single forward holds all passes."""
        if self.size == 1:
            return objective
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(objective, device_ids=devices, find_unused_parameters=find_unused)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
            values = values / self.size
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
        return bool(votes.item())

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            torch.distributed.barrier()


def number_of_processes() -> int:
    """How many processes torchrun started, or one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun started (its environment says), or this one alone.

    Args:
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
    """
    rank, size = int(os.environ.get("RANK", "0")), number_of_processes()
    use_cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(place)
    if size > 1:
        torch.distributed.init_process_group("nccl" if use_cuda else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        if size > 1:
            torch.distributed.destroy_process_group()
