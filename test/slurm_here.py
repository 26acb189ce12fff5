"""Debian's Slurm with several nodes on this machine: slurmctld and slurmd, for as long as a test needs them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONTROLLER, NODE = "/usr/sbin/slurmctld", "/usr/sbin/slurmd"
CPUS = 16  # that each node says it has
MEMORY = 20000  # MB, likewise
CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
JobRequeue=1
KillWait=20
MinJobAge=600
NodeName=node[1-{nodes}] NodeHostname={host} Port=[{first}-{last}] CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def installed() -> bool:
    """Whether there is a Slurm that this user may start."""
    return Path(CONTROLLER).exists() and Path(NODE).exists() and shutil.which("srun") is not None and os.getuid() == 0


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; `environment` is that of its commands."""

    folder: Path
    environment: dict[str, str]

    def call(self, *command: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        environment = {**self.environment, **variables}
        call = [str(part) for part in command]
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=600)

    def wait_until_left(self, job: str) -> None:
        """Until the nodes have reported how the steps of a job ended: a later report would count for its next start."""
        until, steps = time.monotonic() + 120, ["pgrep", "--full", rf"^slurmstepd: \[{job}\."]
        while subprocess.run(steps, stdout=subprocess.DEVNULL).returncode == 0:
            assert time.monotonic() < until, "".join(path.read_text() for path in self.folder.glob("*.log"))
            time.sleep(0.1)


@contextmanager
def slurm(folder: Path, nodes: int = 2) -> Iterator[Slurm]:
    """Start the controller and so many nodes in `folder`; they end with the block."""
    (folder / "state").mkdir(parents=True)
    host, first = socket.gethostname().split(".")[0], free_ports(nodes + 1)
    values = {"host": host, "port": first + nodes, "folder": folder, "nodes": nodes, "cpus": CPUS, "memory": MEMORY}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(first=first, last=first + nodes - 1, **values))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    environment = {**inherited, "SLURM_CONF": str(folder / "slurm.conf")}
    commands = [[CONTROLLER, "-D"], *([NODE, "-D", "-N", f"node{index + 1}"] for index in range(nodes))]
    log = (folder / "daemons.log").open("w")
    daemons = [subprocess.Popen(command, env=environment, stdout=log, stderr=log) for command in commands]
    here = Slurm(folder, environment)
    try:
        _wait_until_idle(here, nodes)
        yield here
    finally:
        here.call("scancel", "--user=root")
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
        log.close()


def _wait_until_idle(here: Slurm, nodes: int) -> None:
    until = time.monotonic() + 60
    while here.call("sinfo", "--noheader", "--Node", "--format=%t").stdout.split() != ["idle"] * nodes:
        assert time.monotonic() < until, "".join(path.read_text() for path in here.folder.glob("*.log"))
        time.sleep(0.2)


def free_ports(count: int = 1) -> int:
    """The first of so many ports in a row that nobody has, of those that a system gives nobody by itself."""
    for first in random.sample(range(11000, 29000), 100):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for index, one in enumerate(sockets):
                one.bind(("", first + index))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise RuntimeError("no free ports")
