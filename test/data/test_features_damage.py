"""Stage 1 on audio at fault, a disk without room, and features that changed on it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from extracted import contents

from dualtk.data.dataset import FeatureDataset
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set, require_statistics
from dualtk.data.selection import select_utterances
from dualtk.errors import InputError

OPTIONS = FbankOptions()


def break_missing(path, write_audio):
    path.unlink()


def break_stereo(path, write_audio):
    write_audio(path, channels=2)


def break_rate(path, write_audio):
    write_audio(path, rate=2000)


def break_header(path, write_audio):
    path.write_bytes(b"no audio at all")


def break_empty(path, write_audio):
    write_audio(path, seconds=0)


def break_short(path, write_audio):
    write_audio(path, seconds=0.02)


def break_numbers(path, write_audio):
    soundfile.write(path, np.full(8000, np.nan), 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_missing, r"s1-003: no audio file .*s1-003.wav"),
        (break_stereo, "has 2 channels, expected one"),
        (break_rate, "has a sample rate of 2000 Hz, expected 4000 to 192000"),
        (break_header, "cannot be decoded"),
        (break_empty, "holds no samples"),
        (break_short, r"0.0200 s of audio is shorter than one window"),
        (break_numbers, "holds samples that are not numbers"),
    ],
)
def test_bad_audio(make_directory, extract_features, write_audio, tmp_path, damage, message):
    directory = make_directory(tmp_path / "train")
    damage(directory / "audio" / "s1-003.wav", write_audio)
    with pytest.raises(InputError, match=message) as caught:
        extract_features(directory)
    assert "s1-003" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("feats.scp"))
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.slow
def test_bad_audio_in_another_process(make_directory, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train")
    break_header(directory / "audio" / "s1-003.wav", None)
    with pytest.raises(InputError, match=r"utterance s1-003: .* cannot be decoded"):
        extract_features(directory, num_jobs=2)
    assert not list(tmp_path.rglob("feats.scp"))


def test_truncated_flac(make_directory, extract_features, tmp_path, replace_line):
    directory = make_directory(tmp_path / "train")
    path = directory / "audio" / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64000), 16000)
    path.write_bytes(path.read_bytes()[:60000])
    replace_line(directory / "wav.scp", 1, f"s0-000 {path}")
    with pytest.raises(InputError, match=r"utterance s0-000: .*cut.flac: (cannot be decoded|ends after)"):
        extract_features(directory)


def test_expected_rate(make_directory, extract_features, tmp_path):
    directory = make_directory(tmp_path / "train", rate=8000)
    with pytest.raises(InputError, match="has a sample rate of 8000 Hz, expected 16000"):
        extract_features(directory, expected_rate=16000)
    assert extract_features(directory)


def command(directory, num_jobs=2):
    arguments = ["--out", str(directory.parent / "features"), "--nj", str(num_jobs), "--train", str(directory)]
    return [sys.executable, "-m", "dualtk.bin.features", *arguments]


@pytest.mark.slow
def test_killed_and_continued(make_directory, write_audio, tmp_path):
    """Kill -9 in the middle: the finished shards stay, and the same command ends with the same bytes."""
    directory = make_directory(tmp_path / "train", count=32)
    for path in sorted((directory / "audio").iterdir()):
        write_audio(path, seconds=10, seed=int(path.stem[-3:]))
    whole, killed = tmp_path / "whole" / "train", tmp_path / "features" / "train"
    extract_set(directory, whole.parent, OPTIONS, cmvn=True, progress=False)
    process = subprocess.Popen(command(directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(killed.glob(".shards/*.json"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "feats.scp").exists()
    time.sleep(0.5)  # workers notice within an utterance that their parent is gone
    kept = {path: path.stat().st_mtime_ns for path in killed.glob(".shards/*.json")}
    assert 3 <= len(kept) < 16
    subprocess.run(command(directory), check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(whole) == contents(killed)
    assert not list(killed.glob(".*.part"))


@pytest.mark.slow
def test_full_disk(make_directory, extract_features, tmp_path):
    """No file may grow beyond 20 kB: the write fails as it does on a full disk, nothing half-made is left behind."""
    directory, folder = make_directory(tmp_path / "train", count=8), tmp_path / "features" / "train"
    limited = ["bash", "-c", 'ulimit -f 20 && exec "$@"', "bash", *command(directory, num_jobs=1)]
    result = subprocess.run(limited, capture_output=True, text=True)
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "feats.scp").exists()
    assert not list(folder.glob(".*.part"))
    shutil.rmtree(folder / ".shards")
    assert (extract_features(directory) / "feats.scp").exists()


def test_a_byte_that_changed_on_the_disk_is_told(make_directory, extract_features, tmp_path):
    """Of the features when they are read, by the utterance; of their statistics when training begins."""
    directory = extract_features(make_directory(tmp_path / "train"), cmvn=True)
    selection = select_utterances(directory)
    dataset = FeatureDataset(selection)
    assert [len(dataset[index].feats) for index in range(len(dataset))] == list(dataset.lengths)
    require_statistics(directory)
    entry = selection.entries[2]
    file, _, offset = entry.location.rpartition(":")
    whole = Path(file).read_bytes()
    for place in (40, 400, 4000):
        changed = bytearray(whole)
        changed[int(offset) + place] ^= 1
        Path(file).write_bytes(changed)
        with pytest.raises(InputError, match=f"utterance {entry.name}: damaged"):
            dataset[2]
        with pytest.raises(InputError, match=f"utterance {entry.name}: damaged"):
            FeatureDataset(selection, cache=True)
    Path(file).write_bytes(whole)
    (directory / "utt2crc").unlink()  # as in a folder that Kaldi wrote
    assert FeatureDataset(selection, cache=True).sums is None
    cmvn = directory / "cmvn.ark"
    whole = cmvn.read_bytes()
    for place in range(0, len(whole), 97):
        cmvn.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"cmvn\.ark: is not the sum of its features"):
            require_statistics(directory)
