"""`dualtk features` as a user runs it."""

from __future__ import annotations

import shutil
from pathlib import Path

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
    arguments = ["features", "--train", "data/train", "--out", "feats", "--set", "features.num_mels=40"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "feats/train: features written\n"
    assert {key: feats.shape for key, feats in kaldiio.load_scp("feats/train/feats.scp").items()} == {
        "a": (100, 40),
        "b": (100, 40),
    }
    assert kaldiio.load_mat("feats/train/cmvn.ark")[0, -1] == 200
    assert read_options(Path("feats/train")) == FbankOptions(num_mels=40)
    assert main(arguments) == 0
    assert capsys.readouterr().out == "feats/train: features unchanged\n"
    assert main(["validate", "feats/train"]) == 0
    assert not (directory / "feats.scp").exists()


def test_speed_perturbation(directory, capsys):
    assert (
        main(
            ["features", "--train", "data/train/", "data/train", "--out", "feats", "--set", "features.speeds=[0.9,1.1]"]
        )
        == 0
    )
    assert capsys.readouterr().out == "feats/train_sp: features written\nfeats/train: features written\n"
    assert list(kaldiio.load_scp("feats/train_sp/feats.scp")) == ["sp0.9-a", "sp0.9-b", "sp1.1-a", "sp1.1-b"]


def test_bad_input(directory, capsys):
    assert main(["features", "data/train", "--out", "feats", "--expected-rate", "16000"]) == 2
    assert capsys.readouterr().err == (
        "dualtk: error: utterance b: b.wav: has a sample rate of 8000 Hz, expected 16000\n"
    )
    assert not Path("feats/train/feats.scp").exists()


def test_directories_of_one_name(directory, capsys):
    shutil.copytree("data", "other")
    assert main(["features", "--out", "feats", "data/train", "other/train"]) == 2
    assert capsys.readouterr().err == (
        "dualtk: error: data/train and other/train have the same name: the features of both would go to feats/train\n"
    )
    assert not Path("feats").exists()
    assert main(["features", "--out", "feats", "data/train"]) == 0
    assert main(["features", "--out", "feats", "other/train"]) == 2
    here = Path.cwd()
    assert capsys.readouterr().err == (
        f"dualtk: error: feats/train: was made from {here}/data/train, not from {here}/other/train: "
        "remove it or choose another output folder\n"
    )


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (
            ["features.speeds=[0.9,0.9]"],
            "features.speeds: two of the speeds are the same: 0.9, 0.9",
        ),
        (
            ["features.speeds=[5.0]"],
            "features.speeds.0: must be less than or equal to 2, not 5.0",
        ),
        (
            ["features.num_mels=0"],
            "features.num_mels: must be greater than or equal to 1, not 0",
        ),
        (
            ["features.sample_rate=8000"],
            "features: mel range 20.0..7600.0 Hz does not fit a sample rate of 8000 Hz",
        ),
    ],
)
def test_bad_values(directory, wrong, line, capsys):
    assert main(["features", "data/train", "--out", "feats", "--set", *wrong]) == 2
    assert capsys.readouterr().err == f"dualtk: error: --set {wrong[0]}: {line}\n"


@pytest.mark.parametrize("wrong", [["--nj", "0"], ["--expected-rate", "fast"]])
def test_bad_options(directory, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["features", "data/train", "--out", "feats", *wrong])
    assert caught.value.code == 2
    assert f"argument {wrong[0]}: {wrong[1]}: expected" in capsys.readouterr().err
