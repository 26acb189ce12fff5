"""Stages 3 to 5 of run.sh on a scrap of synthetic speech, their figures computed again by other means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import kaldialign
import pytest

from .conftest import Run, contents

SYNTHETIC = "egs/synthetic/asr1/run.sh"
LIBRISPEECH = "egs/librispeech/asr1/run.sh"
SHORT = "train.max_steps=4 train.validate_every=2 train.save_every=2 train.average_best=1 train.log_every=1"


def read_table(path: Path) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in path.read_text().splitlines()}


def word_errors(reference: Path, hypothesis: Path) -> tuple[int, int]:
    """Errors and reference words of a decoded set, by kaldialign."""
    hyps, errors, words = read_table(hypothesis), 0, 0
    for name, ref in read_table(reference).items():
        errors += kaldialign.edit_distance(ref, hyps.get(name, []))["total"]
        words += len(ref)
    return errors, words


@pytest.mark.slow
def test_training_decoding_and_scoring(call: Run, tmp_path: Path) -> None:
    work = ["--work-dir", "work", "--nbpe", 40, "--ncpu", 1]
    done = call(SYNTHETIC, *work, "--hours", 0.02, "--dev", 5, "--test", 5, "--set", SHORT)
    assert done.returncode == 0, done.stderr[-2000:]
    exp, data = tmp_path / "work/exp/dual_no_distillation", tmp_path / "work/features/fbank80/test_synthetic"
    results = (exp / "RESULTS.md").read_text()
    for mode in ("full", "streaming"):
        decoded = exp / "decode" / f"test_synthetic-{mode}"
        errors, words = word_errors(data / "text", decoded / "text")
        score = json.loads((decoded / "score.json").read_text())
        assert score["wer"]["rate"]["value"] == pytest.approx(errors / words, abs=1e-12)
        (row,) = (line for line in results.splitlines() if re.match(rf"\| test_synthetic +\| {mode} ", line))
        assert f" {100 * errors / words:.2f} " in row
        assert json.loads((decoded / "decode.json").read_text())["streamed"] is (mode == "streaming")
    assert (exp / "report.html").stat().st_size > 10_000

    more = ["--stage", 4, "--modes", "full", "--searches", "greedy beam2"]
    assert call(SYNTHETIC, *work, "--hours", 0.02, "--dev", 5, "--test", 5, "--set", SHORT, *more).returncode == 0
    assert (exp / "decode/test_synthetic-full-beam2/score.json").is_file()
    found = re.findall(r"\| test_synthetic +\| full .*\| (greedy|beam \d) ", (exp / "RESULTS.md").read_text())
    assert sorted(found) == ["beam 2", "beam 4", "greedy"]

    before = contents(exp)
    again = call(SYNTHETIC, *work, "--hours", 0.02, "--dev", 5, "--test", 5, "--set", SHORT, "--stop-stage", 4)
    assert again.returncode == 0
    after = contents(exp)
    assert {name for name in before if name.startswith("decode") and before[name] != after[name]} == set()
    assert before["model.safetensors"] == after["model.safetensors"]


@pytest.mark.slow
def test_methods_of_other_features_and_tokens_in_one_work_folder(call: Run, tmp_path: Path) -> None:
    """A teacher with 40 mels after a Conformer with 80, then its student, which finds it by its name."""
    done = call(SYNTHETIC, "--work-dir", "work", "--hours", 0.02, "--dev", 5, "--test", 5, "--stop-stage", 0)
    assert done.returncode == 0, done.stderr
    data = tmp_path / "work" / "data"
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")} | {data: data.stat().st_mtime_ns}
    sets = ["--train-dir", data / "train", "--dev-dir", data / "dev", "--test-dirs", data / "test_synthetic"]
    common = [*sets, "--work-dir", "other", "--size", "cpu", "--ngpu", 0, "--nbpe", 40]
    done = call(LIBRISPEECH, *common, "--conf", "tt_hidden", "--num-mels", 40, "--set", SHORT)
    assert done.returncode == 2
    assert "teacher.exp: no other/exp/tt_full_cpu: train it first" in done.stderr
    assert "--conf tt_full" in done.stderr
    for method, mels in (("dual_conformer", 80), ("tt_full", 40), ("tt_hidden", 40)):
        done = call(LIBRISPEECH, *common, "--conf", method, "--num-mels", mels, "--set", SHORT)
        assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in (tmp_path / "other/features").iterdir()} == {"fbank80", "fbank40"}
    assert {path.name for path in (tmp_path / "other/exp").iterdir()} == {
        "dual_conformer_cpu",
        "tt_full_cpu",
        "tt_hidden_cpu",
    }
    assert {path: path.stat().st_mtime_ns for path in before} == before
