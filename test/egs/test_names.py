"""run.sh: names of data directories however they are written, paths with spaces, and lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

LIBRISPEECH = "egs/librispeech/asr1/run.sh"
ALL = ["--work-dir", "work", "--size", "cpu"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (["train", "dev", "a/test b/test"], "a/test and b/test have the same name"),
        (["train", "dev", "a/test b/test/."], "a/test and b/test have the same name"),
        (["train", "a/data", "'b c/data'"], "a/data and b c/data have the same name"),
    ],
)
def test_two_sets_of_one_name_are_refused_before_anything_is_made(
    call: Run, tmp_path: Path, sets: list[str], line: str
) -> None:
    train, dev, tests = sets
    done = call(LIBRISPEECH, *ALL, "--train-dir", train, "--dev-dir", dev, "--test-dirs", tests, "--stage", 4)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_stages_as_a_stranger_runs_them(call: Run, tmp_path: Path) -> None:
    """Slashes at the end, a path with spaces, a speed, changes with spaces, `--set` twice, and each stage alone."""
    few = ["--hours", 0.02, "--dev", 3, "--test", 3, "--stop-stage", 0]
    made = call("egs/synthetic/asr1/run.sh", "--work-dir", "made", *few)
    assert made.returncode == 0, made.stderr
    data = tmp_path / "my data"
    (tmp_path / "made/data").rename(data)
    test = f"'{data}/../my data/test_synthetic/'"
    sets = ["--train-dir", f"{data}/train/", "--dev-dir", f"{data}/./dev", "--test-dirs", test]
    changes = ["--set", "train.max_steps=2 train.validate_every=2"]
    changes += ["--set", "model.predictor={name: stateless, dim: 16}"]
    common = [*ALL, *sets, *changes, "--speed-perturb", "0.9,1.0", "--nbpe", 32, "--ncpu", 1, "--nj", 1]
    for stage in range(4):
        done = call(LIBRISPEECH, *common, "--stage", stage, "--stop-stage", stage)
        assert done.returncode == 0, done.stderr[-2000:]
    (features,) = (tmp_path / "work/features").iterdir()
    assert {path.name for path in features.iterdir()} == {"train_sp", "dev", "test_synthetic"}
    config = (tmp_path / "work/exp/dual_conformer_cpu/config.yaml").read_text()
    assert "max_steps: 2\n" in config
    assert "dim: 16" in config
