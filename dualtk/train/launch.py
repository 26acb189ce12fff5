"""A training of several processes on this machine, under torchrun's agent."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from dualtk.train.stopping import status_of


def launched() -> bool:
    """Whether this is one of the processes of a training."""
    return "RANK" in os.environ


def launch(processes: int, module: str, arguments: Sequence[str]) -> int:
    """Run `module` as so many processes and return their exit status; a signal goes to all of them.

    They say themselves what is wrong; torchrun's own report would bury it.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable()  # its own log of what the processes do
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run.main(["--standalone", f"--nproc-per-node={processes}", "--module", module, *arguments])
    except SignalException as error:
        return status_of(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            print(f"dualtk: error: process {rank} of the training was ended by {name}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    return 0
