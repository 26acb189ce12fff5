"""Processes that work together and then part."""

from __future__ import annotations

from pathlib import Path

import pytest
from two_processes import torchrun

pytestmark = pytest.mark.slow

WORKER = """
import sys
from pathlib import Path
import torch
from dualtk.train.distributed import world

def threads():
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]

with world("cpu") as here:
    network = torch.nn.Linear(2, 2)
    here.share(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    here.average(network)
    assert any("gloo" in name for name in threads()), threads()
    del network
assert not any("gloo" in name for name in threads()), threads()
(Path(sys.argv[1]) / f"left-{here.rank}").touch()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    """One that wants the interpreter while it ends would abort a process that has done its work."""
    (tmp_path / "worker.py").write_text(WORKER)
    torchrun(str(tmp_path / "worker.py"), str(tmp_path), paths=(Path(__file__).resolve().parents[2],), may_warn=True)
    assert {path.name for path in tmp_path.glob("left-*")} == {"left-0", "left-1"}


MEANS = """
import sys
from pathlib import Path
import torch
from dualtk.train.distributed import world
from dualtk.train.meter import Meter

with world("cpu") as here:
    meter = Meter()
    for value in range(1 + here.rank):  # 0 of the first, 0 and 1 of the second
        meter.add({"loss": torch.tensor(float(value))}, frames=100)
    if here.rank == 1:
        meter.add({"seldom": 3.0})
    meter.began -= 10.0
    means = meter.means(here)
    assert abs(means["loss"] - 1 / 3) < 1e-9 and means["seldom"] == 3.0, means
    assert abs(means["audio_per_second"] - 0.3) < 0.01, means
    network = torch.nn.Linear(1, 1)
    network.weight.grad = torch.full((1, 1), float(here.rank)) if here.rank else None
    here.average(network)
    assert network.weight.grad.item() == 0.5 and network.bias.grad is None
(Path(sys.argv[1]) / f"left-{here.rank}").touch()
"""


def test_logs_and_gradients_are_means_over_processes(tmp_path: Path) -> None:
    """Of a value that some batches lack, over those that have it."""
    (tmp_path / "worker.py").write_text(MEANS)
    torchrun(str(tmp_path / "worker.py"), str(tmp_path), paths=(Path(__file__).resolve().parents[2],), may_warn=True)
    assert {path.name for path in tmp_path.glob("left-*")} == {"left-0", "left-1"}
