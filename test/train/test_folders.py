"""What an experiment folder says of its run: every value, in a format that is named where it is another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny import CONFIG, TINY, train_arguments

from dualtk import __version__, trained
from dualtk.bin import decode, train
from dualtk.config import plain_values
from dualtk.errors import InputError
from dualtk.system import load, load_experiment

FIRST_FORMAT = """
model:
  encoder: {name: conformer, dim: 16, num_layers: 2, checkpoint: false}
  predictor: {name: stateless, dim: 16}
  joiner: {name: tanh, joiner_dim: 16}
modes:
  full: {full_context: true, left_context: null, chunk: 1, look_ahead: 0, sparsity: 0.0}
passes:
- {mode: full, weight: 1.0}
sampling: null
terms:
- {name: three_way, student: full, teacher: full, weight: 0.01}
schedule: {name: cosine, peak: 0.001, final: 1.0e-05, warmup_steps: 200}
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder as the first format had it."""
    folder = tmp_path / "old"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(FIRST_FORMAT, encoding="utf-8")
    for name in ("model.safetensors", "checkpoints/last.pt"):
        (folder / name).write_bytes(b"of another time")
    return folder


TEACHER = "teacher={{name: frozen, exp: {old}, mode: full}}"
CALLS: dict[str, Callable[[Path, Path, Path], object]] = {
    "train": lambda old, corpus, new: train.main(train_arguments(corpus, old)),
    "train --override": lambda old, corpus, new: train.main([*train_arguments(corpus, old), "--override"]),
    "init.exp": lambda old, corpus, new: train.main(train_arguments(corpus, new, f"init.exp={old}")),
    "teacher.exp": lambda old, corpus, new: train.main(train_arguments(corpus, new, TEACHER.format(old=old))),
    "decode": lambda old, corpus, new: decode.main(
        ["--exp", str(old), "--mode", "full", "--data", str(corpus / "dev"), "--out", str(new)]
    ),
    "load": lambda old, corpus, new: trained.load(old),
    "load_experiment": lambda old, corpus, new: load_experiment(old),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_of_the_first_format_is_refused_in_one_line(
    corpus: Path, old: Path, tmp_path: Path, call: str
) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        CALLS[call](old, corpus, tmp_path / "new")
    line = f"of format 1, this is dualtk {__version__}, which reads 2: train it again, or use a checkout before 0.1.0"
    assert str(caught.value) == f"{old}: {line}"
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_folder_holds_every_value_that_was_used(corpus: Path, tmp_path: Path) -> None:
    exp, overrides = tmp_path / "exp", ["train.max_steps=1", "train.validate_every=1"]
    assert train.main(train_arguments(corpus, exp, *overrides)) == 0
    written = yaml.safe_load((exp / "config.yaml").read_text(encoding="utf-8"))
    system = load(CONFIG, overrides=[*TINY, *overrides])
    assert written == plain_values(system)
    assert load_experiment(exp) == system
    (exp / "config.yaml").write_text((exp / "config.yaml").read_text().replace("format: 2", "format: 3"))
    facts = json.loads((exp / "versions.json").read_text())
    (exp / "versions.json").write_text(json.dumps({**facts, "dualtk": "7.1.0"}))
    line = f"of format 3, this is dualtk {__version__}, which reads 2: use dualtk 7.1.0 that wrote it"
    with pytest.raises(InputError, match=f"{line}$"):
        load_experiment(exp)


def test_sizes_that_do_not_go_together_are_refused_before_anything_is_written(corpus: Path, tmp_path: Path) -> None:
    for override, line in {
        "model.encoder.num_heads=3": "num_heads: 3 heads do not divide a dim of 16",
        "model.encoder.kernel=4": "kernel: a dual convolution is symmetric, so its kernel is odd, not 4",
        "model.encoder.subsampling_factor=5": "subsampling_factor: convolution subsampling is by",
    }.items():
        with pytest.raises(InputError, match=line):
            train.main(train_arguments(corpus, tmp_path / "exp", override))
        assert not (tmp_path / "exp").exists()
