"""What a new encoder and a new term touch: a file each, and a line of the union in its `__init__`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT, WORDS, write_set

from dualtk.data.tokens import TokenOptions, write_tokenizer

ENCODER = '''"""The last of every four feature frames, projected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from dualtk.encoders.base import EncoderOutput, pad_features, require_streaming, zero_state
from dualtk.modes import Mode
from dualtk.nn.dual import DualNorm
from dualtk.nn.state import Spec, State


class LastFrameEncoder(nn.Module):
    """It needs no state."""

    def __init__(self, *, input_dim: int, mode_names: Sequence[str], dim: int) -> None:
        super().__init__()
        self.input_dim, self.output_dim, self.subsampling = input_dim, dim, 4
        self.projection = nn.Linear(input_dim, dim)
        self.norm = DualNorm("layer", dim, mode_names)

    def forward(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """(B, T, F) -> (B, T', D)."""
        padded = pad_features(feats, lengths, self.subsampling, mode)
        frames = padded.crop(self.norm(self.projection(padded.feats[:, 3::4]), mode))
        return EncoderOutput(frames, padded.lengths, [frames])

    def state_spec(self, mode: Mode) -> Spec:
        """Nothing is remembered."""
        require_streaming(mode)
        return {}

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of streams."""
        return zero_state(self.state_spec(mode), batch, self.projection.weight)

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk."""
        return self.norm(self.projection(chunk[:, 3::4]), mode), state


class LastFrameOptions(BASE):
    """One frame of four."""

    name: Literal["last_frame"]
    """Which encoder."""
    dim: PositiveInt = 8
    """Width of the frames."""

    def build(self, input_dim: int, mode_names: Sequence[str]) -> LastFrameEncoder:
        """The encoder."""
        return LastFrameEncoder(input_dim=input_dim, mode_names=mode_names, **self.arguments())
'''.replace("BASE", "Section").replace(
    "from dualtk.nn.state", "from dualtk.options import Section\nfrom dualtk.nn.state"
)
TERM = '''"""Mean squared difference of the frames of two passes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction
from dualtk.distill.terms import Outcome, TermOptions


class FrameDistance:
    """No gradient reaches the teacher."""

    name = "frame_distance"
    compares_lattices = False

    def __init__(self, *, reduction: Reduction) -> None:
        self.reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        return (student.run.encoded.frames - teacher.run.encoded.frames.detach()).square().mean()


class FrameDistanceOptions(TermOptions):
    """Distance of the encoder's frames."""

    name: Literal["frame_distance"]
    """Which term."""

    def build(self) -> FrameDistance:
        """The term."""
        return FrameDistance(**self.arguments())
'''
SYSTEM = f"""
base: {ROOT / "test/conf/dual_conformer.yaml"}
features: {{num_mels: 16}}
model:
  encoder: {{name: last_frame, dim: 12}}
  predictor: {{name: stateless, dim: 16}}
  joiner: {{joiner_dim: 16}}
terms:
  frame_distance: {{student: streaming, teacher: full}}
batches: {{max_frames: 200, max_utterance_frames: 200, cache: true}}
train: {{max_steps: 2, log_every: 1, validate_every: 2, save_every: 2}}
"""


def add(root: Path, package: str, module: str, text: str, options: str) -> None:
    """Write a module, and the line of the union that makes it known."""
    (root / "dualtk" / package / f"{module}.py").write_text(text)
    init = root / "dualtk" / package / "__init__.py"
    known = init.read_text()
    imports = f"from dualtk.{package}.{module} import {options}\n"
    changed = re.sub(r"(?m)^(\w+ = Annotated\[)\n    ", rf"{imports}\n\1\n    {options} | ", known)
    assert changed != known
    init.write_text(changed)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.py"))}


@pytest.mark.slow
def test_a_new_encoder_and_a_new_term_are_a_file_and_a_line_each(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dualtk", tmp_path / "dualtk", ignore=shutil.ignore_patterns("__pycache__"))
    before = contents(tmp_path)
    add(tmp_path, "encoders", "last_frame", ENCODER, "LastFrameOptions")
    add(tmp_path, "distill", "frame_distance", TERM, "FrameDistanceOptions")
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {
        "dualtk/encoders/__init__.py",
        "dualtk/encoders/last_frame.py",
        "dualtk/distill/__init__.py",
        "dualtk/distill/frame_distance.py",
    }
    write_set(tmp_path / "train", 12, seed=1)
    write_set(tmp_path / "dev", 4, seed=2)
    write_tokenizer(tmp_path / "lang", [" ".join(WORDS)], TokenOptions(size=24))
    (tmp_path / "system.yaml").write_text(SYSTEM)
    command = [sys.executable, "-m", "dualtk.bin.train", "--config", "system.yaml", "--exp", "exp", "--device", "cpu"]
    command += ["--train-dir", "train", "--dev-dir", "dev", "--tokens", "lang", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"streaming/frame_distance": ' in (tmp_path / "exp/metrics.jsonl").read_text()
    assert "name: last_frame" in (tmp_path / "exp/config.yaml").read_text()
