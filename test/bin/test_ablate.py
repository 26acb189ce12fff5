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
from tiny import TINY, WORDS, write_set

from dualtk.bin import ablate
from dualtk.bin.comparison import COLUMNS, Row, Spread, against, cells
from dualtk.bin.dualtk import run
from dualtk.bin.suite import load_suite
from dualtk.data.bpe import write_language
from dualtk.errors import InputError
from dualtk.score.bootstrap import compare

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "egs/synthetic/asr1/conf"
SUITES = sorted(ROOT.glob("egs/*/*/conf/suites/*.yaml"))
LSTM = "{name: lstm, dim: 8, num_layers: 1, dropout: 0.0, stacking: 4, time_reduction: 1}"
SUITE = f"""
title: Two students and a teacher
seeds: [1, 2]
modes: [streaming, full]
beam: 2
set: [train.max_steps=2, train.validate_every=2, train.save_every=2]
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
    write_language(folder / "lang", [" ".join(WORDS)] * 20, 24)
    (folder / "suite.yaml").write_text(SUITE)
    return folder


def arguments(corpus: Path, *more: str, runs: str = "runs") -> list[str]:
    options = [str(corpus / "suite.yaml"), "--runs", str(corpus / runs), "--bpe", str(corpus / "lang")]
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


def test_a_killed_suite_ends_in_the_same_table(corpus: Path) -> None:
    """Killed in its second system: the first is left alone, the second goes on, the table is that of a whole run."""
    one = ["--seeds", "1"]
    assert call(corpus, *one) == 0
    command = [sys.executable, "-m", "dualtk.bin.ablate", *arguments(corpus, *one, runs="killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (corpus / "killed/codert-1/train.log").exists():
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    killed = corpus / "killed"
    assert not (killed / "ablation.md").exists()
    finished = (killed / "dual-1/model.safetensors").stat().st_mtime_ns
    assert call(corpus, *one, runs="killed") == 0
    assert (killed / "dual-1/model.safetensors").stat().st_mtime_ns == finished
    for name in ("dual-1", "codert-1", "codert-1/teacher"):
        assert (killed / name / "model.safetensors").read_bytes() == (
            corpus / "runs" / name / "model.safetensors"
        ).read_bytes()
    assert (killed / "ablation.md").read_text() == (corpus / "runs/ablation.md").read_text()


def test_a_number_of_threads_that_makes_no_sense(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(corpus, "--threads", "-1")
    assert "ablate: error: argument --threads: -1: expected a whole number of at least 0" in capsys.readouterr().err


def test_a_row_is_written_as_it_is_read() -> None:
    difference = compare([3, 0], [1, 1], [6, 4])
    row = Row("test", "streaming", "b", Spread(0.0421, 0.001), difference, Spread(-0.05, 0.0), None, 30_712_345)
    value = difference.difference
    against_first = f"-10.00 [{100 * value.low:+.2f}, {100 * value.high:+.2f}]"
    assert cells(row) == ["test", "streaming", "b", "4.21 ± 0.10", against_first, "-50 ± 0", "-", "30.71 M"]
    assert len(cells(row)) == len(COLUMNS)


def test_a_teacher_is_only_asked_for_where_one_learns(corpus: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(SUITE.replace("{name: dual,", "{name: dual, teacher: true,"))
    with pytest.raises(InputError, match=r"suite\.yaml: dual: no teacher is trained beside it"):
        ablate.main([str(suite), *arguments(corpus, "--seeds", "1")[1:]])


def test_pairs_are_utterances_with_their_errors_under_every_seed() -> None:
    first = {"a": (2, 6), "b": (0, 4)}
    other = {"b": (1, 4), "a": (1, 6)}
    assert against(first, other) == compare([2, 0], [1, 1], [6, 4])


@pytest.mark.parametrize("path", SUITES, ids=lambda path: f"{path.parts[-5]}-{path.stem}")
def test_shipped_suites_name_systems_that_exist(path: Path) -> None:
    suite = load_suite(path)
    assert len(suite.systems) > 1


def test_mistakes_show_before_the_first_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "suite.yaml"
    whole = f"title: x\nmodes: [full]\nsystems:\n  - {{name: a, conf: {CONF}/full_only.yaml}}\n"
    for text, line in (
        (whole + "sed: 3\n", "sed"),
        (whole + "beam: 0\n", "beam: Input should be greater than or equal to 1"),
        (whole.replace("conf:", "config:"), "systems.0.conf"),
        (whole + f"  - {{name: a, conf: {CONF}/full_only.yaml}}\n", "two systems have one name"),
        (whole.replace("full_only", "fullonly"), "fullonly.yaml: cannot be read"),
        (whole.replace("}", ", set: [modes.streaming.chunk=3]}"), "a: modes.streaming.chunk: unknown key"),
    ):
        suite.write_text(text)
        with pytest.raises(InputError, match=line):
            load_suite(suite)
    needed = ["--runs", "r", "--train-dir", "t", "--dev-dir", "d", "--test-dirs", "e", "--bpe", "b"]
    assert run(ablate.main, [str(tmp_path / "none.yaml"), *needed]) == 2
    assert capsys.readouterr().err.startswith("dualtk: error:")
