"""`dualtk tune`: every point is what `dualtk decode` gives there, and the best is what it writes."""

from __future__ import annotations

import itertools
from pathlib import Path

import kaldialign
import pytest
from small_experiment import write_experiment
from tiny import WORDS, write_set

from dualtk.bin import decode, train_lm, tune
from dualtk.bin.dualtk import run
from dualtk.tables import read_table

BEAM = 3
WEIGHTS = (0.0, 0.5, 1.5)
REWARDS = (0.0, 3.0)


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(scope="module")
def lm(exp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    (folder / "text").write_text("\n".join(" ".join(pair) for pair in itertools.permutations(WORDS, 3)))
    arguments = ["--tokens", exp / "lang", "--plain", folder / "text", "--order", "3", "--out", folder / "lm.arpa"]
    assert run(train_lm.main, list(map(str, arguments))) == 0
    return folder / "lm.arpa"


def decoded(exp: Path, data: Path, out: Path, mode: str, *arguments: object) -> dict[str, str]:
    options = ["--exp", exp, "--data", data, "--out", out, "--mode", mode, "--device", "cpu", *arguments]
    assert run(decode.main, list(map(str, options))) == 0
    return read_table(out / "text", empty_values=True)


@pytest.fixture(scope="module")
def data(exp: Path, lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is said is what full context makes of it at the weight 0.5 and the reward 3.0."""
    folder = tmp_path_factory.mktemp("data") / "dev"
    write_set(folder, 7, seed=3)
    options = ("--beam", BEAM, "--lm", lm, "--lm-weight", 0.5, "--length-reward", 3.0)
    texts = decoded(exp, folder, folder.parent / "out", "full", *options)
    (folder / "text").write_text("".join(f"{name} {text or 'ALPHA'}\n" for name, text in texts.items()))
    return folder


def call(exp: Path, data: Path, lm: Path, *arguments: object) -> int:
    options = [exp, "--data", data, "--beam", BEAM, "--lm", lm, "--device", "cpu", *arguments]
    return run(tune.main, list(map(str, options)))


@pytest.mark.slow
def test_points_are_decodings_and_the_best_is_written(exp, lm, data, tmp_path, capsys) -> None:
    grid = ("--lm-weight", *WEIGHTS, "--length-reward", *REWARDS, "--out", tmp_path / "a b/tuned.conf")
    assert call(exp, data, lm, *grid) == 0
    header, _, *rows = (line.strip("| ").split("|") for line in capsys.readouterr().out.splitlines())
    assert [cell.strip() for cell in header] == ["lm weight", "length reward", "full WER %", "streaming WER %"]
    references = {name: text.split() for name, text in read_table(data / "text").items()}
    size = sum(map(len, references.values()))
    for row, (weight, reward) in zip(rows, itertools.product(WEIGHTS, REWARDS), strict=True):
        cells = [cell.strip() for cell in row]
        assert (float(cells[0]), float(cells[1])) == (weight, reward)
        for mode, cell in zip(("full", "streaming"), cells[2:]):
            options = ("--beam", BEAM, "--lm", lm, "--lm-weight", weight, "--length-reward", reward)
            hypotheses = decoded(exp, data, tmp_path / f"{mode}-{weight}-{reward}", mode, *options)
            pairs = ((text, hypotheses[name].split()) for name, text in references.items())
            errors = sum(kaldialign.edit_distance(*pair)["total"] for pair in pairs)
            assert float(cell) == pytest.approx(100 * errors / size, abs=0.006)
    rates = [sum(map(float, row[2:4])) for row in rows]
    assert [row[-1].strip() == "best" for row in rows].index(True) == rates.index(min(rates))

    assert call(exp, data, lm, *grid, "--modes", "full") == 0
    lines = (tmp_path / "a b/tuned.conf").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# Tuned on dev, 7 utterances; word errors: full 0.00 % (0 of {size})"
    assert {f"--beam={BEAM}", f"--lm={lm}", "--lm-weight=0.5", "--length-reward=3.0"} <= set(lines)
    texts = decoded(exp, data, tmp_path / "again", "full", *lines[1:])
    assert {name: text.split() or ["ALPHA"] for name, text in texts.items()} == references


def test_of_equals_the_smallest_weights_are_best(exp, lm, data, tmp_path, capsys) -> None:
    arguments = ("--modes", "full", "--lm-weight", 1e-6, 0.0, "--out", tmp_path / "tuned.conf")
    assert call(exp, data, lm, *arguments) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0].split("|")[2] == rows[1].split("|")[2]
    assert "best" in rows[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--source-lm-weight", 0.5, 0.7), "--source-lm-weight: needs --source-lm"),
        (("--lm-weight", 0.3), "nothing to tune: give --lm"),
        (("--internal-lm-weight", 0, -1), "internal_lm_weight"),
        (("--modes", "fast"), "has no mode fast"),
        (("--beam", 1), "--lm: needs a --beam of at least 2"),
    ],
)
def test_what_cannot_be_tuned(exp, lm, data, tmp_path, capsys, arguments, words) -> None:
    assert call(exp, data, lm, "--out", tmp_path / "tuned.conf", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "tuned.conf").exists()


def test_a_test_set_is_not_looked_at(exp, lm, tmp_path, capsys) -> None:
    for name in ("test", "test_clean", "TEST-other"):
        assert call(exp, tmp_path / name, lm) == 2
        assert f"{name} is a test set by its name" in capsys.readouterr().err


def test_a_file_of_the_user_stays(exp, lm, data, tmp_path, capsys) -> None:
    (tmp_path / "notes.conf").write_text("mine\n")
    assert call(exp, data, lm, "--out", tmp_path / "notes.conf") == 2
    assert "notes.conf: exists and is no options of dualtk tune" in capsys.readouterr().err
    assert (tmp_path / "notes.conf").read_text() == "mine\n"
