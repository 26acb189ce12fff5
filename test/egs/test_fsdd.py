"""Digits joined into utterances: the corpus's own split, valid data directories, and clear errors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from .conftest import ROOT, Run, contents

pytestmark = pytest.mark.slow

PREPARE = "egs/fsdd/asr1/local/prepare.py"
WORDS = {"ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"}


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Noise in the place of digits, under FSDD's names: 2 speakers, takes 0 to 8; number i lasts 200 + i ms."""
    folder = tmp_path / "free spoken digits" / "recordings"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index, name in enumerate(f"{d}_{s}_{t}" for d in range(10) for s in ("ann", "bob") for t in range(9)):
        soundfile.write(folder / f"{name}.wav", 0.1 * generator.standard_normal(1600 + 8 * index), 8000)
    return folder


def table(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_each_test_recording_serves_and_only_there(recordings: Path, tmp_path: Path, call: Run) -> None:
    done = call(PREPARE, recordings, tmp_path / "data", "--utterances", 20)
    assert (done.returncode, done.stderr) == (0, "")
    used: dict[str, Counter[int]] = {}
    for name in ("train", "dev", "test"):
        directory = tmp_path / "data" / name
        texts = table(directory / "text")
        assert all(3 <= len(text.split()) <= 7 and set(text.split()) <= WORDS for text in texts.values())
        times = [line.split() for line in (directory / "words.ctm").read_text().splitlines()]
        used[name] = Counter(round(float(line[3]) * 1000) - 200 for line in times)  # recordings by their length
        assert [line[4] for line in times] == [word for name in sorted(texts) for word in texts[name].split()]
        spoken: dict[str, float] = {}
        for utterance, _, start, duration, _ in times:
            assert float(start) > spoken.get(utterance, 0.09), "a pause lies before every digit"
            spoken[utterance] = float(start) + float(duration)
        durations = table(directory / "utt2dur")
        assert all(float(durations[name]) > end + 0.19 for name, end in spoken.items())
        assert soundfile.info(directory / "wav" / f"{min(texts)}.wav").samplerate == 8000
    assert used["test"] == {index: 4 for index in range(180) if index % 9 in range(5)}
    assert used["dev"] == {index: 4 for index in range(180) if index % 9 in (5, 6)}
    assert {index % 9 for index in used["train"]} == {7, 8}
    assert len(table(tmp_path / "data/train/text")) == 20


def test_the_directories_are_valid_for_dualtk(recordings: Path, tmp_path: Path, call: Run) -> None:
    call(PREPARE, recordings, tmp_path / "data", "--utterances", 8)
    sets = [str(tmp_path / "data" / name) for name in ("train", "dev", "test")]
    validate = [sys.executable, "-m", "dualtk.bin.validate", "--expected-rate", "8000", *sets]
    done = subprocess.run(validate, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_noise_and_rounds(recordings: Path, tmp_path: Path, call: Run) -> None:
    """Noise joins the very same utterances, at the ratio asked for; a set is made again when its noise changes."""
    few = ("--utterances", 8, "--test-rounds", 1)
    assert call(PREPARE, recordings, tmp_path / "plain", *few).returncode == 0
    assert call(PREPARE, recordings, tmp_path / "noisy", *few, "--noise-snr", 10).returncode == 0
    for name in ("train", "dev", "test"):
        plain, noisy = (tmp_path / kind / name for kind in ("plain", "noisy"))
        assert (plain / "words.ctm").read_text() == (noisy / "words.ctm").read_text()
        for path in sorted((plain / "wav").iterdir())[:3]:
            clean, mixed = (soundfile.read(folder / "wav" / path.name)[0] for folder in (plain, noisy))
            # All digits here are noise of amplitude 0.1: ten decibels below is 0.0316.
            assert np.std(mixed - clean) == pytest.approx(0.0316, rel=0.05)
    times = [line.split()[3] for line in (tmp_path / "plain/test/words.ctm").read_text().splitlines()]
    assert set(Counter(times).values()) == {1}
    again = call(PREPARE, recordings, tmp_path / "noisy", *few, "--noise-snr", 20)
    assert "nothing to do" not in again.stdout


def test_a_killed_run_is_continued(recordings: Path, tmp_path: Path, call: Run) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert call(PREPARE, recordings, whole, "--utterances", 400).returncode == 0
    process = subprocess.Popen([sys.executable, ROOT / PREPARE, recordings, killed, "--utterances", "400"])
    while process.poll() is None and not list(killed.glob(".train*/wav/*")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (killed / "train").exists()
    assert call(PREPARE, recordings, killed, "--utterances", 400).returncode == 0
    for name in ("train", "dev", "test"):
        assert contents(killed / name) == contents(whole / name)
    assert call(PREPARE, recordings, killed, "--utterances", 400).stdout.count("nothing to do") == 3


def test_the_real_corpus(test_data: Path, tmp_path: Path, call: Run) -> None:
    done = call(PREPARE, test_data / "fsdd" / "recordings", tmp_path, "--utterances", 30)
    assert done.returncode == 0
    assert "1200 digits, 300 recordings" in done.stdout
    speakers = set(table(tmp_path / "test" / "utt2spk").values())
    assert speakers == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}


@pytest.mark.parametrize("fault", ["none", "name", "rate", "stereo", "not audio", "no test takes"])
def test_bad_input_is_one_line_with_the_file(fault: str, recordings: Path, tmp_path: Path, call: Run) -> None:
    bad = recordings / "1_ann_8.wav"
    samples = np.zeros((800, 2 if fault == "stereo" else 1))
    if fault in ("rate", "stereo"):
        soundfile.write(bad, samples, 16000 if fault == "rate" else 8000)
    elif fault == "not audio":
        bad.write_text("hello")
    elif fault == "name":
        bad = recordings / "one_ann.wav"
        bad.write_text("")
    else:
        for path in recordings.glob("*.wav" if fault == "none" else "*_[0-4].wav"):
            path.unlink()
        bad = recordings
    done = call(PREPARE, recordings, tmp_path / "data", "--utterances", 200)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("dualtk: error: ")
    assert str(bad) in done.stderr
    assert not (tmp_path / "data" / "train").exists()
