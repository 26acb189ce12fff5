"""The tutorial, typed as it stands into a checkout whose recipes are small."""

from __future__ import annotations

import re
import subprocess

import pytest
from documents import ROOT, blocks, read

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs/tutorial.md"


def test_every_block_says_that_it_is_run() -> None:
    assert all(block.runs for block in blocks(read(TUTORIAL)))


def test_typed_from_its_first_command_to_its_last(tutorial: subprocess.CompletedProcess[str]) -> None:
    assert tutorial.returncode == 0, (tutorial.stdout + tutorial.stderr)[-3000:]
    said = tutorial.stdout
    for stage in range(6):
        assert f"== stage {stage}: " in said
    tables = re.findall(r"^\| (test\w*) +\| (\S+) ", said, re.M)
    assert {("test_synthetic", "full"), ("test_synthetic", "streaming")} <= set(tables)
    assert {("test", "full"), ("test", "streaming"), ("test", "streaming@4")} <= set(tables)
    assert "encoder-streaming.onnx" in said
