"""`dualtk features` as a user runs it."""

from __future__ import annotations

import kaldiio
import numpy as np
import pytest
import soundfile

from dualtk.bin.dualtk import main
from dualtk.data.fbank import FbankOptions
from dualtk.data.kaldi import Utterance, write_data_directory
from dualtk.data.kinds import read_options


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A data directory with relative paths, seen from the current folder."""
    monkeypatch.chdir(tmp_path)
    utterances = []
    for name, rate in (("a", 16000), ("b", 8000)):
        soundfile.write(f"{name}.wav", np.random.default_rng(0).uniform(-0.1, 0.1, rate), rate)
        utterances.append(Utterance(name, name, f"{name}.wav", "HELLO", 1.0))
    write_data_directory(tmp_path / "data" / "train", utterances)
    return tmp_path / "data" / "train"


def test_features(directory, capsys):
    arguments = ["features", "data/train", "--cmvn", "--num-mels", "40"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/train: features written\n"
    assert {key: feats.shape for key, feats in kaldiio.load_scp("data/train/feats.scp").items()} == {
        "a": (100, 40),
        "b": (100, 40),
    }
    assert kaldiio.load_mat("data/train/cmvn.ark")[0, -1] == 200
    assert read_options(directory) == FbankOptions(num_mels=40)
    assert main(arguments) == 0
    assert capsys.readouterr().out == "data/train: features unchanged\n"


def test_speed_perturbation(directory):
    assert main(["features", "data/train", "--speed-perturb", "0.9,1.1"]) == 0
    assert list(kaldiio.load_scp("data/train_sp/feats.scp")) == ["sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]
    assert not (directory / "feats.scp").exists()


def test_bad_input(directory, capsys):
    assert main(["features", "data/train", "--expected-rate", "16000"]) == 2
    assert capsys.readouterr().err == (
        "dualtk: error: utterance b: b.wav: has a sample rate of 8000 Hz, expected 16000\n"
    )
    assert not (directory / "feats.scp").exists()


@pytest.mark.parametrize("wrong", [["--nj", "0"], ["--speed-perturb", "0.9,0.9"], ["--speed-perturb", "5"]])
def test_bad_options(directory, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["features", "data/train", *wrong])
    assert caught.value.code == 2
    assert f"argument {wrong[0]}: expected" in capsys.readouterr().err
