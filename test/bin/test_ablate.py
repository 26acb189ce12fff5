"""`dualtk ablate`: ordinary runs, one table, and nothing done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from shipped import METHODS, SIZES
from stopping import stopped_after
from tiny import TINY, WORDS, write_set

from dualtk.bin import ablate
from dualtk.bin.dualtk import run
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.errors import InputError
from dualtk.train.checkpoint import load_training
from dualtk.train.experiment import Experiment

pytestmark = pytest.mark.slow

CONF = METHODS["codert"].parent
LSTM = "{name: lstm, dim: 8, num_layers: 1, dropout: 0.0, stacking: 4, time_reduction: 1}"
SUITE = f"""
title: Two students and a teacher
modes: [streaming, full]
beam: 2
budgets: {{tiny: {{seeds: [1, 2], train: {{max_steps: 2, validate_every: 2, save_every: 2}}}}}}
systems:
  - {{name: dual, conf: {CONF}/dual_no_distillation.yaml, set: [{", ".join(f"'{line}'" for line in TINY[:-4])}]}}
  - name: codert
    conf: {CONF}/codert.yaml
    set:
      - features.num_mels=16
      - "model.encoder={LSTM}"
      - "teacher.encoder={LSTM.replace("dim: 8", "dim: 12")}"
      - batches.max_frames=200
    teacher: true
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    for seed, (name, number) in enumerate((("train", 12), ("dev", 4), ("test", 6))):
        write_set(folder / name, number, seed)
        texts = [line.split() for line in (folder / name / "text").read_text().splitlines()]
        (folder / name / "utt2spk").write_text("".join(f"{words[0]} spk\n" for words in texts))
        times = (f"{words[0]} 1 {0.1 * i:.2f} 0.10 {word}\n" for words in texts for i, word in enumerate(words[1:]))
        (folder / name / "words.ctm").write_text("".join(times))
    write_tokenizer(folder / "lang", [" ".join(WORDS)] * 20, TokenOptions(size=24))
    (folder / "suite.yaml").write_text(SUITE)
    return folder


def arguments(corpus: Path, *more: str, runs: str = "runs") -> list[str]:
    options = [str(corpus / "suite.yaml"), "--runs", str(corpus / runs), "--tokens", str(corpus / "lang")]
    options += ["--size", str(SIZES["cpu-synthetic"]), "--budget", "tiny"]
    options += ["--train-dir", str(corpus / "train"), "--dev-dir", str(corpus / "dev")]
    return [*options, "--test-dirs", str(corpus / "test"), "--device", "cpu", *more]


def call(corpus: Path, *more: str, runs: str = "runs") -> int:
    torch.set_num_threads(1)
    return ablate.main(arguments(corpus, *more, runs=runs))


def test_a_suite_becomes_one_table_and_is_continued(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(corpus) == 0
    printed = capsys.readouterr().out
    table = (corpus / "runs/ablation.md").read_text()
    assert printed in table
    facts = json.loads((corpus / "runs/ablation.json").read_text())
    assert facts["seeds"] == [1, 2]
    rows = {(row["mode"], row["system"]): row for row in facts["rows"]}
    assert set(rows) == {
        ("streaming", "dual"),
        ("streaming", "codert"),
        ("teacher", "codert, its teacher"),
        ("full", "dual"),
    }
    assert rows["full", "dual"]["latency_at50"] is None
    assert rows["streaming", "dual"]["against_first"] is None
    for seed in (1, 2):
        command = (corpus / f"runs/codert-{seed}/command").read_text()
        assert command.startswith("dualtk train --config")
        assert f"train.seed={seed}" in command
        assert f"--size {corpus}/runs/size.yaml" in command
    rates = [
        json.loads((corpus / f"runs/codert-{seed}/decode/test-streaming/score.json").read_text())["wer"]["rate"]
        for seed in (1, 2)
    ]
    assert rows["streaming", "codert"]["wer"]["mean"] == pytest.approx(sum(rate["value"] for rate in rates) / 2)
    assert (corpus / "runs/report.html").stat().st_size > 1000

    searches = [json.loads(path.read_text())["search"] for path in (corpus / "runs").rglob("decode.json")]
    assert [search["beam"] for search in searches] == [2] * 8

    weights = {path: path.stat().st_mtime_ns for path in (corpus / "runs").rglob("last.pt")}
    assert len(weights) == 4
    assert call(corpus, "--seeds", "1", "--beam", "1") == 0
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert json.loads((corpus / "runs/dual-1/decode/test-full/decode.json").read_text())["search"]["name"] == "greedy"
    assert "Seeds: 1. Beam: 1." in (corpus / "runs/ablation.md").read_text()


def test_the_command_of_a_run_may_be_pasted(corpus: Path) -> None:
    """With its values that a shell would take apart; the run is finished, so that nothing is left to do."""
    assert call(corpus, "--seeds", "1", "--systems", "codert", runs="pasted") == 0
    experiment = Experiment(corpus / "pasted/codert-1")
    command, trained = (experiment.folder / "command").read_text(), experiment.training_file.read_bytes()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    assert (experiment.folder / "command").read_text() == 2 * command
    assert experiment.training_file.read_bytes() == trained


def test_a_killed_suite_ends_in_the_same_table(corpus: Path) -> None:
    """Killed in its second system: the first is left alone, the second goes on, the table is that of a whole run."""
    one = ["--seeds", "1", "--set", "train.max_steps=16"]
    assert call(corpus, *one, runs="whole") == 0
    command = [sys.executable, "-m", "dualtk.bin.ablate", *arguments(corpus, *one, runs="killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    state = Experiment(corpus / "killed/codert-1").training_file
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not state.exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    step = load_training(state, torch.device("cpu"))["progress"]["step"]
    assert 0 < step < 16
    whole, killed = corpus / "whole", corpus / "killed"
    assert not (killed / "ablation.md").exists()
    finished = (killed / "dual-1/model.safetensors").stat().st_mtime_ns
    assert call(corpus, *one, runs="killed") == 0
    assert f"continuing from step {step} " in (killed / "codert-1/train.log").read_text()
    assert (killed / "dual-1/model.safetensors").stat().st_mtime_ns == finished
    for name in ("dual-1", "codert-1", "codert-1/teacher"):
        assert (killed / name / "model.safetensors").read_bytes() == (whole / name / "model.safetensors").read_bytes()
    assert (killed / "ablation.md").read_text() == (whole / "ablation.md").read_text()


def test_some_systems_of_a_suite(corpus: Path) -> None:
    chosen = ["--seeds", "1", "--systems", "codert"]
    assert call(corpus, *chosen, runs="some") == 0
    facts = json.loads((corpus / "some/ablation.json").read_text())
    assert [(row["mode"], row["system"]) for row in facts["rows"]] == [
        ("streaming", "codert"),
        ("teacher", "codert, its teacher"),
    ]
    assert not (corpus / "some/dual-1").exists()


def test_an_interrupt_stops_the_suite(corpus: Path) -> None:
    with stopped_after(2):
        call(corpus, "--seeds", "1", runs="interrupted")
    assert not (corpus / "interrupted/codert-1").exists()
    assert not (corpus / "interrupted/ablation.md").exists()


def test_a_run_that_fails_leaves_the_others(corpus: Path) -> None:
    """`half` has the features' 16 dimensions with seed 6 only; `student` learns from it under the same seed."""
    suite = corpus / "half.yaml"
    system = f"conf: {CONF}/codert_student.yaml, set: ['model.encoder={LSTM}', batches.max_frames=200"
    suite.write_text(
        SUITE[: SUITE.index("  - {name: dual")].replace("[streaming, full]", "[streaming]")
        + f"  - {{name: first, {system}, features.num_mels=16]}}\n"
        + f"  - {{name: half, {system}, 'features.num_mels=1{{seed}}']}}\n"
        + f"  - {{name: student, {system.replace('codert_student', 'codert_static')},"
        + " features.num_mels=16, 'teacher.exp={runs}/half-{seed}']}\n"
    )
    failing = ["--seeds", "7", "6"]
    with pytest.raises(InputError, match=r"ablation\.md: 2 of 6 runs failed: half with seed 7, student with seed 7"):
        ablate.main([str(suite), *arguments(corpus, *failing, runs="half")[1:]])
    runs = corpus / "half"
    table = (runs / "ablation.md").read_text()
    why = f"{corpus}/train/feats.scp: features have 16 dimensions, those of the configuration 17"
    assert f"- half, seed 7: {why}\n- student, seed 7: teacher.exp: {runs}/half-7: its own training failed\n" in table
    facts = json.loads((runs / "ablation.json").read_text())
    assert [(one["system"], one["seed"]) for one in facts["failed"]] == [("half", 7), ("student", 7)]
    assert [row["seeds"] for row in facts["rows"]] == [[7, 6], [6], [6]]
    first, half = (
        json.loads((runs / f"{name}-6/decode/test-streaming/score.json").read_text())["wer"]["rate"]["value"]
        for name in ("first", "half")
    )
    assert facts["rows"][1]["against_first"]["wer"]["difference"]["value"] == pytest.approx(half - first)
    assert not (runs / "half-7").exists(), "nothing is written before the data are known to fit"
    assert (runs / "report.html").stat().st_size > 1000


def test_two_test_sets_of_one_name_are_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = corpus / "other/test"
    other.parent.mkdir()
    other.symlink_to(corpus / "test")
    wrong = arguments(corpus, runs="none")
    wrong.insert(wrong.index("--test-dirs") + 1, str(other))
    assert run(ablate.main, wrong) == 2
    assert capsys.readouterr().err == (
        f"dualtk: error: --test-dirs: {other} and {corpus}/test have one name, and would share decoded sets\n"
    )
    assert not (corpus / "none").exists()


def test_a_number_of_threads_that_makes_no_sense(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(corpus, "--threads", "-1")
    assert "ablate: error: argument --threads: -1: expected a whole number of at least 0" in capsys.readouterr().err


def test_a_teacher_is_only_asked_for_where_one_learns(corpus: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE.replace("{name: dual,", "{name: dual, teacher: true,"))
    with pytest.raises(InputError, match=r"suite\.yaml: dual: no teacher is trained beside it"):
        ablate.main([str(suite), *arguments(corpus, "--seeds", "1")[1:]])
