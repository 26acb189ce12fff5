"""`dualtk decode` with its searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_experiment import write_experiment
from tiny import write_set

from dualtk.bin import decode
from dualtk.bin.dualtk import run
from dualtk.data.bpe import Wordpieces
from dualtk.score.read import read_ctm, read_emissions, read_text


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    write_set(folder, 7, seed=3)
    return folder


def call(exp: Path, data: Path, out: Path, *arguments: object) -> int:
    options = ["--exp", exp, "--data", data, "--out", out, "--device", "cpu", *arguments]
    return run(decode.main, [str(option) for option in options])


def scores(folder: Path) -> dict[str, float]:
    lines = (folder / "tokens.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["utt"]: line["score"] for line in map(json.loads, lines)}


def test_a_decoding_is_consistent(exp, data, tmp_path) -> None:
    assert call(exp, data, tmp_path / "out", "--mode", "full", "--beam", 4, "--nbest", 3) == 0
    texts, words = read_text(tmp_path / "out/text"), read_ctm(tmp_path / "out/hyp.ctm")
    emissions = read_emissions(tmp_path / "out/tokens.jsonl")
    assert len(texts) == 7
    assert any(texts.values())
    for utterance, text in texts.items():
        assert [word.word for word in words.get(utterance, [])] == text.split()
        assert all(0 <= word.start < word.end for word in words.get(utterance, []))
        assert all(time == emissions[utterance].duration for time in emissions[utterance].times)
    for line in (tmp_path / "out/hyp.ctm").read_text(encoding="utf-8").splitlines():
        assert 0 <= float(line.split()[5]) <= 1
    for line in map(json.loads, (tmp_path / "out/nbest.jsonl").read_text(encoding="utf-8").splitlines()):
        assert 1 <= len(line["hypotheses"]) <= 3
        assert line["hypotheses"][0]["text"].strip() == texts[line["utt"]]
    facts = json.loads((tmp_path / "out/decode.json").read_text(encoding="utf-8"))
    assert facts["reach"] == 0.0175
    assert facts["search"] == {
        "name": "beam",
        "beam": 4,
        "max_symbols": 5,
        "max_length": None,
        "lm": None,
        "lm_weight": None,
    }


@pytest.mark.parametrize("limits", [(), ("--max-length", 30)], ids=["free", "limited"])
def test_a_beam_scores_no_less_than_greedy_search(exp, data, tmp_path, limits) -> None:
    for name, beam in (("greedy", 1), ("beam", 4)):
        assert call(exp, data, tmp_path / name, "--mode", "full", "--beam", beam, *limits) == 0
    greedy, beam = scores(tmp_path / "greedy"), scores(tmp_path / "beam")
    assert len(greedy) == 7
    assert all(beam[utterance] >= score - 1e-3 for utterance, score in greedy.items())
    assert sum(beam.values()) > sum(greedy.values()) + 0.1


def test_a_language_model_is_consulted_and_its_change_noticed(exp, data, tmp_path) -> None:
    pieces = Wordpieces(exp / "lang").pieces
    path, out = tmp_path / "lm.arpa", tmp_path / "out"
    options = ("--mode", "full", "--beam", 4, "--lm", path, "--lm-weight", 2.0)
    for loved in (pieces[5], pieces[9]):
        lines = [f"{-0.01 if piece == loved else -5.0} {piece}" for piece in pieces[1:]]
        path.write_text("\\1-grams:\n-5 </s>\n" + "\n".join(lines) + "\n\\end\\\n", encoding="utf-8")
        assert call(exp, data, out, *options) == 0
        said = [token for one in read_emissions(out / "tokens.jsonl").values() for token in one.tokens]
        assert set(said) <= {loved}, "at this weight only the loved piece is worth saying"


def test_finished_work_is_not_repeated(exp, data, tmp_path) -> None:
    out = tmp_path / "out"
    assert call(exp, data, out, "--mode", "full") == 0
    before = (out / "decode.json").stat().st_mtime_ns
    assert call(exp, data, out, "--mode", "full") == 0
    assert (out / "decode.json").stat().st_mtime_ns == before
    assert call(exp, data, out, "--mode", "full", "--beam", 2) == 0
    assert (out / "decode.json").stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mode", "none"), "has no mode none"),
        (("--mode", "full", "--lm", "lm.arpa"), "needs a --beam"),
        (("--mode", "full", "--bpe", "/nowhere"), "/nowhere"),
    ],
)
def test_bad_options(exp, data, tmp_path, capsys, arguments, words: str) -> None:
    assert call(exp, data, tmp_path / "out", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
