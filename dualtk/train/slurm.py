"""The tasks of a Slurm step: which of them this process is, and where they meet.

`srun` may start every process of a training, or one on each node that starts the others (`dualtk.train.launch`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

FIRST_PORT, PORTS = 20000, 10000  # below those that systems give away, so that jobs of one node seldom meet


@dataclass(frozen=True)
class Step:
    """The tasks that one `srun` started.

    Attributes:
        name: of the job and the step, with how often the job was begun anew.
        host: the node of the first task.
        port: where they meet, one of its own for each step.
        rank: this task among all.
        local_rank: this task among those of its node.
        tasks: all of them.
        nodes: those that they are on.
    """

    name: str
    host: str
    port: int
    rank: int
    local_rank: int
    tasks: int
    nodes: int

    @property
    def rendezvous(self) -> str:
        """HOST:PORT where they meet."""
        return f"{self.host}:{self.port}"


def step(environment: Mapping[str, str] = os.environ) -> Step | None:
    """The step of several tasks that this process belongs to; None outside of one.

    What a batch script runs without `srun` is no task of a step, whatever the job asked for.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1 or "SLURM_PROCID" not in environment:
        return None
    job, number = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    return Step(
        name=f"{job}.{number}.{environment.get('SLURM_RESTART_COUNT', '0')}",
        host=first_host(environment["SLURM_STEP_NODELIST"]),
        port=FIRST_PORT + (job * 31 + number) % PORTS,
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment["SLURM_LOCALID"]),
        tasks=tasks,
        nodes=int(environment["SLURM_STEP_NUM_NODES"]),
    )


def first_host(nodes: str) -> str:
    """The first of a list of nodes as Slurm writes it: `gpu007` of `gpu[007-009,012],cpu1`."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)
