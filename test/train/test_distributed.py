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
