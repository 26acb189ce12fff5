"""One process or many: torchrun starts them, DDP averages their gradients."""

from __future__ import annotations

import os
import signal
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

from dualtk.owner import end_with_parent

LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "Gloo")  # another one's end


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


def is_first() -> bool:
    """Whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


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
    if size == 1:
        yield World(rank, size, place)
        return
    end_with_parent(signal.SIGKILL)
    torch.distributed.init_process_group("nccl" if use_cuda else "gloo")
    try:
        yield World(rank, size, place)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in LOST):
            raise
        raise SystemExit(1) from None  # it is not this process that has something to say
    finally:
        torch.distributed.destroy_process_group()
