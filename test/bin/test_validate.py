"""`dualtk validate` as a user runs it."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from dualtk.bin.dualtk import main
from dualtk.data.kaldi import Utterance, write_data_directory


@pytest.fixture
def directory(tmp_path):
    utterances = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 8000), 16000)
        utterances.append(Utterance(name, name, str(path), "HELLO", 0.5))
    write_data_directory(tmp_path / "train", utterances)
    return tmp_path / "train"


def test_no_faults(directory, capsys):
    assert main(["validate", str(directory), "--decode-audio"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{directory}: no faults\n"
    assert captured.err == ""


def test_transcripts_may_be_left_out_for_pre_training(directory, capsys):
    assert main(["validate", "--no-text", str(directory)]) == 0
    (directory / "text").unlink()
    assert main(["validate", "--no-text", str(directory)]) == 0
    assert main(["validate", str(directory)]) == 2
    assert f"{directory}/text" in capsys.readouterr().err


def test_every_fault_of_every_directory(directory, capsys):
    (directory / "text").write_text("a HELLO\nb\nc\n")
    (directory / "utt2spk").write_text("b b\na a\n")
    other = directory.parent / "test"
    assert main(["validate", str(directory), str(other)]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"{directory}/text: 2 empty transcripts, left out: b c",
        f"{directory}/utt2spk:2: a is out of order after b (use LC_ALL=C sort)",
        f"{other}: no such data directory",
    ]
    assert captured.out == f"{directory}: 1 fault\n{other}: 1 fault\n"


def test_expected_rate_and_duration(directory, capsys):
    assert main(["validate", str(directory), "--expected-rate", "8000"]) == 2
    assert "has a sample rate of 16000 Hz, expected 8000" in capsys.readouterr().err
    assert main(["validate", str(directory), "--min-duration", "0.6"]) == 2
    assert "lasts 0.5000 s, less than one output frame (0.6 s)" in capsys.readouterr().err


def test_characters_that_cannot_be_seen_are_told(directory, capsys):
    (directory / "text").write_text("a ONE\u200b\nb TWO\n")
    assert main(["validate", str(directory)]) == 0
    assert "1 of 2 transcripts hold characters that cannot be seen" in capsys.readouterr().err
