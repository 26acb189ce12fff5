"""run.sh: its options, its errors, and stages 0 to 2 on a scrap of speech from anywhere, in folders with spaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import ROOT, Run

RECIPES = ("librispeech", "synthetic", "fsdd")
LIBRISPEECH = "egs/librispeech/asr1/run.sh"
SYNTHETIC = "egs/synthetic/asr1/run.sh"
OPTIONS = (
    *("stage", "stop-stage", "librispeech", "train-sets", "dev-sets", "test-sets", "train-dir", "dev-dir", "test-dirs"),
    *("conf", "decode-conf", "train-args", "tag", "exp", "nbpe", "bpe-type", "speed-perturb", "modes", "nj", "ngpu"),
    *("work-dir", "ctm"),
)


def run_sh(recipe: str) -> str:
    return f"egs/{recipe}/asr1/run.sh"


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_lists_every_option_with_its_default(recipe: str, call: Run) -> None:
    done = call(run_sh(recipe), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("  --")]
    assert {f"--{name}" for name in OPTIONS} <= {line.split()[0] for line in lines}
    assert all(line.endswith("]") for line in lines)
    assert len((ROOT / run_sh(recipe)).read_text().splitlines()) <= 120


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--stag", "1"], "--stag"),
        (["--stage"], "--stage"),
        (["--stage", "one"], "one"),
        (["train"], "train"),
        (["--stage=9", "--here", "x"], "--here"),  # a variable of the script, not an option
    ],
)
def test_bad_options_are_one_line_and_status_2(recipe: str, arguments: list[str], word: str, call: Run) -> None:
    done = call(run_sh(recipe), "--stage", 9, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("run.sh: error: ")
    assert word in done.stderr


@pytest.mark.parametrize("words", [["--stop_stage", 8], ["--stop-stage", 8], ["--stop-stage=8"], ["--stop_stage=8"]])
@pytest.mark.parametrize("recipe", RECIPES)
def test_hyphen_or_underscore(recipe: str, words: list[object], call: Run) -> None:
    assert call(run_sh(recipe), "--stage", 8, *words).returncode == 0


def test_pre_training_has_no_wordpieces_and_nothing_to_decode(call: Run, tmp_path: Path) -> None:
    for stage, title in {2: "500 wordpieces", 4: "decoding", 5: "scoring"}.items():
        one = ["--stage", stage, "--stop-stage", stage, "--task", "pretrain", "--work-dir", tmp_path]
        done = call(LIBRISPEECH, *one)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"== stage {stage}: {title}\nskipped\n", "")


def test_kaldi_directories_go_together(call: Run) -> None:
    done = call(LIBRISPEECH, "--stage", 9, "--train-dir", "data/train")
    assert done.returncode == 2
    assert "--test-dirs" in done.stderr


def test_a_missing_corpus_is_one_line(call: Run, tmp_path: Path) -> None:
    done = call(LIBRISPEECH, "--librispeech", tmp_path / "nowhere", "--work-dir", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere" in done.stderr


def test_an_unknown_launcher_is_refused(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALTK_CMD", "sge")
    done = call(LIBRISPEECH, "--stage", 9)
    assert (done.returncode, done.stderr) == (2, "run.sh: error: DUALTK_CMD is sge, expected local or slurm\n")


def test_stages_0_to_2_then_the_same_data_as_kaldi_directories(call: Run, tmp_path: Path) -> None:
    work = tmp_path / "my work"
    small = ["--hours", 0.02, "--dev", 5, "--test", 5, "--nbpe", 40]
    done = call(SYNTHETIC, "--work-dir", "my work", "--stop-stage", 2, *small)
    assert (done.returncode, done.stderr) == (0, "")
    data = work / "data"
    assert {path.name for path in data.iterdir()} == {"train", "dev", "test_synthetic", "lang_unigram40"}
    assert all((data / name / "words.ctm").exists() for name in ("train", "dev", "test_synthetic"))
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*.ark")}

    again = call(SYNTHETIC, "--work_dir", "my work", "--stop_stage=2", *small)
    assert again.returncode == 0
    assert "written" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*.ark")} == before

    (work / "b").mkdir()
    directories = ["--train-dir", data / "train", "--dev-dir", data / "dev", "--test-dirs", data / "test_synthetic"]
    done = call(LIBRISPEECH, "--work-dir", "b", "--stop-stage", 2, "--nbpe", 40, *directories, folder=work)
    assert (done.returncode, done.stderr) == (0, "")
    assert (work / "b" / "data" / "lang_unigram40" / "bpe.model").exists()
