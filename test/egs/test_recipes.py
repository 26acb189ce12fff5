"""run.sh: its options, its errors, and stages 0 to 2 on a scrap of speech from anywhere, in folders with spaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import ROOT, Run

pytestmark = pytest.mark.slow

RECIPES = ("librispeech", "synthetic", "fsdd")
LIBRISPEECH = "egs/librispeech/asr1/run.sh"
SYNTHETIC = "egs/synthetic/asr1/run.sh"
OPTIONS = (
    *("stage", "stop-stage", "librispeech", "train-sets", "dev-sets", "test-sets", "train-dir", "dev-dir", "test-dirs"),
    *("conf", "size", "set", "decode-conf", "train-args", "tag", "exp", "nbpe", "bpe-type", "num-mels"),
    *("speed-perturb", "modes", "searches", "nj", "ngpu", "work-dir", "ctm"),
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
        (["--searches", "beam"], "--searches: beam is none of greedy, ctc and beam4"),
        (["--stage=5", "--here", "x"], "--here"),  # a variable of the script, not an option
    ],
)
def test_bad_options_are_one_line_and_status_2(recipe: str, arguments: list[str], word: str, call: Run) -> None:
    done = call(run_sh(recipe), "--stage", 5, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("run.sh: error: ")
    assert word in done.stderr


@pytest.mark.parametrize("words", [["--stop_stage", 8], ["--stop-stage", 8], ["--stop-stage=8"], ["--stop_stage=8"]])
@pytest.mark.parametrize("recipe", RECIPES)
def test_hyphen_or_underscore(recipe: str, words: list[object], call: Run) -> None:
    assert call(run_sh(recipe), "--stage", 8, *words).returncode == 0


@pytest.mark.parametrize("size", ["paper", "cpu"])
def test_pre_training_has_no_tokens_and_nothing_to_decode(size: str, call: Run, tmp_path: Path) -> None:
    for stage in (2, 4, 5):
        one = ["--stage", stage, "--stop-stage", stage, "--conf", "wav2vec_pretrain", "--size", size]
        done = call(LIBRISPEECH, *one, "--work-dir", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--conf", "dual_conformre"], "dual_conformre"),
        (["--size", "huge"], "huge"),
        (["--set", "train.max_step=1"], "train.max_step: unknown key"),
        (["--num-mels", "0"], "features.num_mels"),
        (["--sample-rate", "2000"], "features.sample_rate"),
    ],
)
def test_a_faulty_configuration_is_one_line_before_anything(
    arguments: list[str], word: str, call: Run, tmp_path: Path
) -> None:
    done = call(LIBRISPEECH, *arguments, "--work-dir", tmp_path / "work")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert word in done.stderr
    assert not (tmp_path / "work").exists()


def test_kaldi_directories_go_together(call: Run) -> None:
    done = call(LIBRISPEECH, "--stage", 5, "--train-dir", "data/train")
    assert done.returncode == 2
    assert "--test-dirs" in done.stderr


def test_a_missing_corpus_is_one_line(call: Run, tmp_path: Path) -> None:
    done = call(LIBRISPEECH, "--librispeech", tmp_path / "nowhere", "--work-dir", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere" in done.stderr


def test_an_unknown_launcher_is_refused(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALTK_CMD", "sge")
    done = call(LIBRISPEECH, "--stage", 5)
    assert (done.returncode, done.stderr) == (2, "run.sh: error: DUALTK_CMD is sge, expected local or slurm\n")


def test_stages_0_to_2_then_the_same_data_as_kaldi_directories(call: Run, tmp_path: Path) -> None:
    work = tmp_path / "my work"
    small = ["--hours", 0.02, "--dev", 5, "--test", 5, "--nbpe", 40]
    done = call(SYNTHETIC, "--work-dir", "my work", "--stop-stage", 2, *small)
    assert (done.returncode, done.stderr) == (0, "")
    data = work / "data"
    assert {path.name for path in data.iterdir()} == {"train", "dev", "test_synthetic"}
    assert all((data / name / "words.ctm").exists() for name in ("train", "dev", "test_synthetic"))
    assert {path.name for path in (work / "features" / "fbank80").iterdir()} == {"train", "dev", "test_synthetic"}
    assert [path.name for path in (work / "tokens").iterdir()] == ["unigram40"]
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}

    again = call(SYNTHETIC, "--work_dir", "my work", "--stop_stage=2", *small)
    assert again.returncode == 0
    assert "written" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before

    (work / "b").mkdir()
    directories = ["--train-dir", data / "train", "--dev-dir", data / "dev", "--test-dirs", data / "test_synthetic"]
    done = call(LIBRISPEECH, "--work-dir", "b", "--stop-stage", 2, "--nbpe", 40, *directories, folder=work)
    assert (done.returncode, done.stderr) == (0, "")
    assert (work / "b" / "tokens" / "unigram40" / "bpe.model").exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what a user brings is only read"

    other = ["--conf", "tt_streaming", "--size", "cpu", "--num-mels", 40]
    done = call(LIBRISPEECH, "--work-dir", "b", "--stop-stage", 1, *other, *directories, folder=work)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (work / "b" / "features").iterdir()} == {"fbank80", "fbank40"}
