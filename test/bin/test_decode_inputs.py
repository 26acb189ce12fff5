"""What a decoding was made from: what is decoded again and what is not, and what does not go with a network."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_experiment import VOCABULARY, write_experiment
from tiny import WORDS, write_set

from dualtk import recognizer
from dualtk.bin import decode, score
from dualtk.bin.dualtk import run
from dualtk.data.contents import Digests, features_digest
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import write_options
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.errors import InputError
from dualtk.files import digest
from dualtk.tensors import read_state_dict
from dualtk.train.checkpoint import save_network


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "exp/tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_set(tmp_path / "data/test", 3, seed=3)
    return tmp_path / "data/test"


def call(exp: Path, data: Path, *arguments: object) -> int:
    options = ["--exp", exp, "--data", data, "--mode", "full", "--device", "cpu", *arguments]
    return run(decode.main, [str(option) for option in options])


def rewrite(data: Path, change: float) -> None:
    """Other features of the same names and lengths, in archives of the same names and sizes."""
    feats = {
        name: np.array(matrix) + np.float32(change) for name, matrix in kaldiio.load_scp(f"{data}/feats.scp").items()
    }
    kaldiio.save_ark(str(data / "feats.ark"), feats, scp=str(data / "feats.scp"))


@pytest.mark.slow
def test_what_is_decoded_again_and_what_is_not(exp, data, tmp_path, caplog) -> None:
    """A table of what may change: each row changes one thing, and says whether and why the set is decoded again."""
    caplog.set_level("INFO")
    out = exp / "decode/test-full"

    def decoded(exp: Path = exp, data: Path = data, *arguments: object) -> str:
        caplog.clear()
        assert call(exp, data, *arguments) == 0
        lines = [record.getMessage() for record in caplog.records]
        told = [line.partition("changed: ")[2] for line in lines if "changed: " in line]
        return told[0] if told else "no" if lines[-1].endswith("up to date") else "anew"

    assert decoded() == "anew"
    assert decoded() == "no"
    date = (data / "feats.ark").stat().st_mtime_ns
    os.utime(data / "feats.ark")
    assert decoded() == "no", "another date"
    rewrite(data, 0.0)
    assert decoded() == "no", "written again"
    rewrite(data, 0.5)
    os.utime(data / "feats.ark", ns=(date, date))
    assert decoded() == "features", "other contents of the same size and date"
    (data / "text").write_text((data / "text").read_text().replace(WORDS[0], WORDS[1]))
    assert decoded() == "no", "transcripts are not read"
    write_options(data, FbankOptions(num_mels=16))
    assert decoded() == "feature options"
    assert decoded(exp, data, "--beam", 2) == "--beam"
    assert decoded() == "--beam"
    config = exp / "config.yaml"
    config.write_text(config.read_text().replace("chunk: 4", "chunk: 2") + "# by hand\n")
    assert decoded() == "configuration"
    shutil.copytree(exp, tmp_path / "copied here/tiny")
    shutil.copytree(data, tmp_path / "copied there/test")
    assert decoded(tmp_path / "copied here/tiny", tmp_path / "copied there/test") == "no", "elsewhere"
    network = exp / "model.safetensors"
    tensors = load_file(network)
    tensors["joiner.output.bias"][1] += 1e-3
    save_network(network, tensors)
    assert decoded() == "network"
    assert "code" in (out / ".done").read_text()
    (out / ".done").write_text((out / ".done").read_text().replace("code: ", "code: 0"))
    assert decoded() == "code"


def test_two_sets_of_one_name_do_not_share_a_decoding(exp, data, tmp_path, capsys) -> None:
    other = tmp_path / "other/test"
    write_set(other, 3, seed=4)
    assert call(exp, data) == 0
    assert call(exp, other) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"dualtk: error: {exp}/decode/test-full: holds the decoding of {data}: name another --out for {other}"
    )
    assert call(exp, other, "--out", tmp_path / "out") == 0
    shutil.rmtree(data)
    assert call(exp, other) == 0, "its place is free"


def test_a_directory_has_its_name_from_wherever_it_is_named(exp, data, monkeypatch) -> None:
    monkeypatch.chdir(data)
    for place in (".", "../test", "../test/", "../../data/test/."):
        assert call(exp, Path(place)) == 0
    assert [path.name for path in (exp / "decode").iterdir()] == ["test-full"]


def refusal(capsys: pytest.CaptureFixture[str], *call_arguments: object) -> str:
    assert call(*call_arguments) == 2  # type: ignore[arg-type]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    return line.removeprefix("dualtk: error: ")


@pytest.mark.parametrize(
    ("fields", "key", "has", "wanted"),
    [
        ({"sample_rate": 8000, "high_frequency": 3800.0}, "sample_rate", 8000, 16000),
        ({"low_frequency": 60.0}, "low_frequency", 60.0, 20.0),
        ({"high_frequency": 8000.0}, "high_frequency", 8000.0, 7600.0),
        ({"num_mels": 40}, "num_mels", 40, 16),
    ],
)
def test_features_of_other_options(exp, data, capsys, fields, key, has, wanted) -> None:
    write_options(data, FbankOptions(**{"num_mels": 16, **fields}))
    assert refusal(capsys, exp, data) == (
        f"{data}/fbank.json: {key} of the features is {has}, {exp}/config.yaml has features.{key} {wanted}"
    )


@pytest.mark.parametrize("change", [20.8, -20.8, 60.0])
def test_features_of_another_scale(exp, data, capsys, change) -> None:
    """Features made elsewhere, of samples in the range of 16 bits."""
    trained = recognizer.load_trained(exp).network.feature_mean
    feats = {name: np.array(one) for name, one in kaldiio.load_scp(f"{data}/feats.scp").items()}
    rewrite(data, float(trained.mean()) + change - float(np.concatenate(list(feats.values())).mean()))
    line = refusal(capsys, exp, data)
    assert line.startswith(f"{data}/feats.scp: the mean of its features is ")
    assert f"that of {exp}/model.safetensors is {float(trained.mean()):.1f}" in line
    assert ("16 bits" in line) is (abs(change) < 30)
    rewrite(data, -change + 9)  # 39 dB louder than in training
    assert call(exp, data) == 0


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(exp, data, capsys, value) -> None:
    tensors = load_file(exp / "model.safetensors")
    key = next(key for key, tensor in tensors.items() if tensor.dtype == torch.float32 and tensor.numel() > 2)
    tensors[key].view(-1)[:2] = value
    save_file(tensors, exp / "model.safetensors")
    expected = f"{exp}/model.safetensors: {key}: 2 of {tensors[key].numel()} weights are not finite"
    assert refusal(capsys, exp, data) == expected
    with pytest.raises(InputError, match=r"2 of \d+ weights are not finite"):
        read_state_dict(exp / "model.safetensors")


def test_a_range_of_rows_is_part_of_the_features(data) -> None:
    digests = Digests(data / "digests")
    before = features_digest(data, digests)
    assert features_digest(data, digests) == before
    scp = data / "feats.scp"
    lines = scp.read_text().splitlines()
    scp.write_text("\n".join([f"{lines[0]}[1:9]", *lines[1:]]) + "\n")
    one = features_digest(data, digests)
    scp.write_text("\n".join([f"{lines[0]}[2:10]", *lines[1:]]) + "\n")
    assert len({before, one, features_digest(data, digests)}) == 3


def test_other_tokens_of_the_same_size(exp, data, tmp_path, capsys) -> None:
    other, same = tmp_path / "other", tmp_path / "same"
    write_tokenizer(other, ["SOME QUITE DIFFERENT WORDS THAN THOSE BEFORE"], TokenOptions(size=VOCABULARY))
    line = refusal(capsys, exp, data, "--tokens", other)
    assert line.startswith(f"{other}: token 2 is ")
    assert line.endswith(f", with which {exp} was trained")
    assert f" in {exp}/lang/bpe.model, with" in line
    with pytest.raises(InputError, match=r"other: token 2 is "):
        recognizer.load(exp, tokens=other)
    shutil.copytree(exp / "lang", same)
    assert call(exp, data, "--tokens", same) == 0
    (exp / "versions.json").write_text(json.dumps({"inputs": {"tokens": digest([same / "bpe.model"])}}))
    assert call(exp, data) == 0
    shutil.rmtree(exp / "lang")
    assert call(exp, data, "--tokens", same) == 0
    for folder in (other, exp / "lang"):
        if folder != other:
            shutil.copytree(other, folder)
        line = refusal(capsys, exp, data, "--tokens", folder)
        assert line == f"{folder}/bpe.model: is not the one that {exp} was trained with, by {exp}/versions.json"


@pytest.mark.slow
def test_what_cannot_be_read_is_left_out_where_it_may(exp, data, tmp_path, capsys, caplog) -> None:
    lines = (data / "feats.scp").read_text().splitlines()
    name = lines[1].split()[0]
    (data / "feats.scp").write_text("\n".join([lines[0], lines[1].rpartition(":")[0] + ":999999", lines[2]]) + "\n")
    assert call(exp, data, "--out", tmp_path / "none") == 2
    assert re.search(rf"error: .*utterance {name}: .*feats\.ark: byte 999999: no Kaldi matrix", capsys.readouterr().err)
    assert not (tmp_path / "none").exists()
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        assert call(exp, data, "--out", out, "--max-bad", 1, "--nj", processes) == 0
        assert (out / "left_out").read_text().startswith(f"{name} ")
        assert len((out / "text").read_text().splitlines()) == 2
    assert (tmp_path / "out1/text").read_bytes() == (tmp_path / "out2/text").read_bytes()
    (data / "utt2spk").write_text("".join(f"{line.split()[0]} someone\n" for line in lines))
    assert run(score.main, ["--data", str(data), "--decode", str(tmp_path / "out1")]) == 0
    assert f"no hypothesis for 1 utterances, all deletions: {name}" in caplog.text
