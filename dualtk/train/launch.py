"""A training of several processes, on this machine or on several: who starts them, and where they meet.

On one machine torchrun's agent starts them. On several, one agent on each does, and the agents meet at one address; or
`srun` starts every process itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

import torch.distributed
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous.api import RendezvousError

from dualtk.errors import InputError
from dualtk.train.slurm import Step
from dualtk.train.stopping import status_of
from dualtk.train.waiting import PATIENCE

DEFAULT_PORT = 29400  # torchrun's own


def launched() -> bool:
    """Whether this is one of the processes of a training."""
    return "RANK" in os.environ


@dataclass(frozen=True)
class Agents:
    """Processes that agents start, one agent on each node.

    Attributes:
        processes: of each node.
        nodes: how many.
        rendezvous: HOST or HOST:PORT where the agents of several nodes meet.
        name: of the training: agents of another one are not taken for its own.
        patience: seconds that an agent waits for the others.
        is_host: whether this node is that of `rendezvous`; None: its name tells.
    """

    processes: int
    nodes: int = 1
    rendezvous: str = ""
    name: str = "dualtk"
    patience: int = PATIENCE
    is_host: bool | None = None

    def arguments(self) -> list[str]:
        """What torchrun is called with."""
        common = [f"--nproc-per-node={self.processes}"]
        if self.nodes == 1:
            return ["--standalone", *common]
        waiting = {"join_timeout": self.patience, "timeout": self.patience, "read_timeout": self.patience}
        if self.is_host is not None:
            waiting["is_host"] = int(self.is_host)
        host, _, port = self.rendezvous.partition(":")
        return [
            *common,
            f"--nnodes={self.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={host}:{port or DEFAULT_PORT}",
            f"--rdzv-id={self.name}",
            "--rdzv-conf=" + ",".join(f"{key}={value}" for key, value in waiting.items()),
            *(["--local-addr=127.0.0.1"] if host in ("localhost", "127.0.0.1") else []),
        ]


def agents(
    processes: int | None, nodes: int | None, rendezvous: str | None, patience: int, name: str, step: Step | None
) -> Agents | None:
    """The agents that are to start the processes of a training; None where this is one of these, or the only one.

    Args:
        processes: of each node; None: as many as `srun` started, or one.
        nodes: None: those of `step`, or one.
        rendezvous: HOST or HOST:PORT; None: that of `step`.
        patience: seconds that an agent waits for the others.
        name: of the training.
        step: the tasks that `srun` started, if it did.

    Raises:
        InputError: numbers that do not fit what `srun` started, or several nodes that nothing says where to meet.
    """
    if step is None:
        if (nodes or 1) == 1:
            return None if (processes or 1) == 1 else Agents(processes or 1)
        if rendezvous is None:
            raise InputError(
                f"--num-nodes: {nodes}, but nothing says where they meet: give all of them the same --rendezvous "
                "HOST:PORT, or start them with srun"
            )
        return Agents(processes or 1, nodes or 1, rendezvous, name, patience)
    if nodes is not None and nodes != step.nodes:
        raise InputError(f"--num-nodes: {nodes}, but srun started tasks on {step.nodes}")
    if processes is None or step.tasks == step.nodes * processes:
        host, _, port = (rendezvous or step.rendezvous).partition(":")
        os.environ |= {"RANK": str(step.rank), "LOCAL_RANK": str(step.local_rank), "WORLD_SIZE": str(step.tasks)}
        os.environ |= {"MASTER_ADDR": host, "MASTER_PORT": port or str(step.port)}
        return None
    if step.tasks == step.nodes:
        meeting = rendezvous or step.rendezvous
        return Agents(processes, step.nodes, meeting, step.name, patience, is_host=step.rank == 0)
    raise InputError(
        f"--processes: {processes} on each of {step.nodes} nodes, but srun started {step.tasks} tasks: let it start "
        "one on each node, or one for each process"
    )


def launch(who: Agents, module: str, arguments: Sequence[str]) -> int:
    """Run `module` as so many processes and return their exit status; a signal goes to all of them.

    They say themselves what is wrong; torchrun's own report would bury it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable()  # its own log of what the processes do
    warned: list[signal.Signals] = []

    def warn(number: int, frame: FrameType | None) -> None:
        warned.append(signal.Signals(number))
        os.kill(os.getpid(), signal.SIGTERM)  # that one torchrun passes on

    signal.signal(signal.SIGUSR1, warn)
    try:
        run.main([*who.arguments(), "--module", module, *arguments])
    except SignalException as error:
        return status_of(warned[0] if warned else error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            print(f"dualtk: error: process {rank} of the training was ended by {name}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    except (RendezvousError, torch.distributed.DistError) as error:
        if who.nodes == 1:
            raise
        raise InputError(
            f"--rendezvous {who.rendezvous}: {who.nodes} nodes did not meet there within {who.patience} seconds, or "
            "one of them is gone"
        ) from error
    return 0
