"""What run.sh asks Slurm for, by the jobs that a real one notes."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_here import free_ports, installed, slurm

from .conftest import Run

pytestmark = pytest.mark.slow

FIELDS = ("NumNodes", "NumCPUs", "MinMemoryNode")
TRAINING = ("--stage", 3, "--stop-stage", 3, "--work-dir", "work", "--conf", "dual_conformer", "--size", "cpu")
CHANGES = ("--set", "batches.cache=false batches.num_workers=3")


def test_requests_follow_from_processes_and_workers(call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainings fail, for there are no tokens; what was asked for them stands all the same."""
    if not installed():
        pytest.skip("no slurmctld and slurmd that this user may start (Debian: apt install slurm-wlm)")
    with slurm(tmp_path / "slurm") as here:
        monkeypatch.setenv("DUALTK_CMD", "slurm")
        monkeypatch.setenv("SLURM_CONF", here.environment["SLURM_CONF"])

        def jobs() -> dict[str, list[str]]:
            lines = here.call("scontrol", "--oneliner", "show", "jobs").stdout.splitlines()
            found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
            return {one["JobId"]: [one["JobName"], *(one[field] for field in FIELDS)] for one in found}

        recipe = ("egs/librispeech/asr1/run.sh", *TRAINING, *CHANGES)
        assert call(*recipe, "--ncpu", 2).returncode != 0
        assert jobs()["1"] == ["dualtk-train", "1", "8", "14G"]
        meeting = f"--rendezvous 127.0.0.1:{free_ports()}"
        assert call(*recipe, "--ncpu", 1, "--num-nodes", 2, "--train-args", meeting).returncode != 0
        assert jobs()["2"] == ["dualtk-train", "2", "8", "7G"]
        done = call(*recipe)
        assert "Requested node configuration is not available" in done.stderr  # these nodes have no GPU
        assert call(*recipe, "--stage", 2, "--stop-stage", 2, "--nj", 3).returncode != 0
        assert list(jobs().values())[-1][:3] == ["dualtk-data", "1", "3"]
