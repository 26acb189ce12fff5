"""Training by two gloo processes beside training by one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from tiny import train_arguments, write_set

from dualtk.bin.train import main

# A script whose processes write what they take to the file of their rank, and are told to stop after a number of steps.
WORKER = """
import os, signal, sys
from dualtk.bin.train import main
from dualtk.train.stepping import Stepper
taken, last, *arguments = sys.argv[1:]
take = Stepper.take

def noting(self, batches, progress):
    done = take(self, batches, progress)
    with open(f"{taken}-{self.world.rank}", "a") as stream:
        for batch in batches:
            if batch.share:
                stream.writelines(f"{progress.epoch} {name}\\n" for name in batch.utterances)
    if progress.step == int(last):
        os.kill(os.getpid(), signal.SIGTERM)
    return done

Stepper.take = noting
sys.exit(main(arguments))
"""


def torchrun(
    *command: str, paths: tuple[Path, ...] = (), may_warn: bool = False, processes: int = 2, status: int = 0
) -> None:
    """Run a script or `-m module` as two processes; a failure shows what they wrote to stderr, and a warning is one.

    The addresses are those of this machine alone, whatever its name resolves to.

    Args:
        command: script or module, and its arguments.
        paths: folders to import from besides.
        may_warn: let warnings pass.
        processes: how many, if not two.
        status: that it must end with.
    """
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    folders = [*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)}
    call = [*launch, f"--nproc-per-node={processes}", *command]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    assert may_warn or "warn" not in done.stderr.lower(), done.stderr


def assert_two_equal_one(corpus: Path, folder: Path, *overrides: str) -> None:
    """Two processes with half of each batch each take the steps of one with the whole, and no process warns.

    `overrides` must leave out what depends on the division: dropout, masks, batch norms.
    """
    whole, one, two = folder / "corpus", folder / "one", folder / "two"
    write_set(whole / "train", 2, seed=5)
    for name in ("dev", "lang"):
        (whole / name).symlink_to(corpus / name)
    longest = max(map(int, (whole / "train/utt2num_frames").read_text().split()[1::2]))
    assert main(train_arguments(whole, one, *overrides, f"batches.max_frames={2 * longest}")) == 0
    halves = train_arguments(whole, two, *overrides, f"batches.max_frames={longest}")
    torchrun("-m", "dualtk.bin.train", *halves)
    theirs = load_file(two / "model.safetensors")
    for key, value in load_file(one / "model.safetensors").items():
        np.testing.assert_allclose(theirs[key].numpy(), value.numpy(), atol=2e-5, err_msg=key)
