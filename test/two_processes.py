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
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "dualtk.bin.train", *train_arguments(whole, two, *overrides, f"batches.max_frames={longest}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=400)
    assert "warn" not in done.stderr.lower()
    theirs = load_file(two / "model.safetensors")
    for key, value in load_file(one / "model.safetensors").items():
        np.testing.assert_allclose(theirs[key].numpy(), value.numpy(), atol=2e-5, err_msg=key)
