"""Extraction into a data directory: by one process or several, interrupted or not, the same bytes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import kaldiio
import numpy as np
import pytest
import soundfile
import torch

from dualtk.data.arks import read_cmvn
from dualtk.data.batches import select_utterances
from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.features import extract_features
from dualtk.data.kaldi import read_table, write_table
from dualtk.data.validation import validate
from dualtk.errors import InputError


def contents(directory):
    """All bytes that extraction decides, with the directory's own path taken out."""
    names = ["feats.scp", "utt2num_frames", "utt2dur", "cmvn.ark", "fbank.json"]
    paths = [*(directory / name for name in names), *directory.glob("feats.*.ark")]
    return {path.name: path.read_bytes().replace(str(directory).encode(), b"DIR") for path in paths if path.exists()}


def test_kaldi_reads_what_we_write(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train", count=20)
    assert extract_features(directory, cmvn=True, progress=False)
    feats = kaldiio.load_scp(str(directory / "feats.scp"))
    assert list(feats) == list(read_table(directory / "wav.scp"))
    for name, path in read_table(directory / "wav.scp").items():
        samples, rate = soundfile.read(path, dtype="float32")
        np.testing.assert_array_equal(feats[name], fbank(torch.from_numpy(samples), rate).numpy())
        assert read_table(directory / "utt2num_frames")[name] == str(len(feats[name]))
        assert float(read_table(directory / "utt2dur")[name]) == pytest.approx(len(samples) / rate, abs=1e-4)
    mean, istd = read_cmvn(directory / "cmvn.ark")
    frames = np.concatenate(list(feats.values())).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(istd, 1 / frames.std(0), rtol=1e-4)
    assert validate(directory, decode_audio=True) == []


def test_processes_do_not_matter(make_directory, tmp_path):
    one, two = (make_directory(tmp_path / name / "train", count=23) for name in ("a", "b"))
    extract_features(one, cmvn=True, num_jobs=1, progress=False)
    extract_features(two, cmvn=True, num_jobs=2, progress=False)
    assert contents(one) == contents(two)


def test_skipped_only_when_nothing_changed(make_directory, write_audio, tmp_path):
    directory = make_directory(tmp_path / "train")
    assert extract_features(directory, progress=False)
    assert not extract_features(directory, progress=False)
    assert extract_features(directory, cmvn=True, progress=False)
    assert extract_features(directory, options=FbankOptions(num_mels=40), progress=False)
    write_audio(directory / "audio" / "s0-000.wav", 0.8, seed=99)
    assert extract_features(directory, options=FbankOptions(num_mels=40), progress=False)
    assert read_table(directory / "utt2num_frames")["s0-000"] == "80"
    (directory / "feats.3.ark").unlink()
    assert extract_features(directory, options=FbankOptions(num_mels=40), progress=False)


def test_fewer_utterances_leave_no_old_archives(make_directory, replace_line, tmp_path):
    directory = make_directory(tmp_path / "train", count=6)
    extract_features(directory, progress=False)
    replace_line(directory / "wav.scp", 6, None)
    extract_features(directory, progress=False)
    assert len(list(directory.glob("feats.*.ark"))) == len(list(directory.glob(".shards/*"))) == 5


def test_segments(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train", count=7)
    recording = "s0-006"  # 0.9 s
    write_table(directory / "segments", {"u1": f"{recording} 0.10 0.50", "u2": f"{recording} 0.50 0.901"})
    extract_features(directory, progress=False)
    samples, _ = soundfile.read(directory / "audio" / f"{recording}.wav", dtype="float32")
    feats = kaldiio.load_scp(str(directory / "feats.scp"))
    np.testing.assert_array_equal(feats["u1"], fbank(torch.from_numpy(samples[1600:8000]), 16000).numpy())
    np.testing.assert_array_equal(feats["u2"], fbank(torch.from_numpy(samples[8000:]), 16000).numpy())


def test_speed_perturbation(make_directory, tmp_path):
    directory, output = make_directory(tmp_path / "train", count=3), tmp_path / "train_sp"
    before = contents(directory)
    assert extract_features(directory, output, speeds=(0.9, 1.0, 1.1), cmvn=True, progress=False)
    assert contents(directory) == before
    names = list(read_table(output / "feats.scp"))
    originals = list(read_table(directory / "wav.scp"))
    assert names == sorted(originals + [f"sp{speed}-{name}" for speed in ("0.9", "1.1") for name in originals])
    assert read_table(output / "utt2spk")["sp0.9-s1-001"] == "sp0.9-s1"
    assert read_table(output / "spk2utt")["sp1.1-s0"] == "sp1.1-s0-000 sp1.1-s0-002"
    assert read_table(output / "text")["sp1.1-s0-002"] == read_table(directory / "text")["s0-002"]
    frames = {name: int(count) for name, count in read_table(output / "utt2num_frames").items()}
    assert frames["sp0.9-s0-002"] == round(frames["s0-002"] / 0.9)
    assert frames["sp1.1-s0-002"] == round(frames["s0-002"] / 1.1)
    assert validate(output) == []
    assert len(select_utterances(output).entries) == 9
    with pytest.raises(InputError, match="give another output folder"):
        extract_features(directory, speeds=(0.9, 1.1), progress=False)


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
        (break_rate, "has a sample rate of 2000 Hz, expected at least 4000"),
        (break_header, "cannot be decoded"),
        (break_empty, "holds no samples"),
        (break_short, r"0.0200 s of audio is shorter than one window"),
        (break_numbers, "holds samples that are not numbers"),
    ],
)
def test_bad_audio(make_directory, write_audio, tmp_path, damage, message):
    directory = make_directory(tmp_path / "train")
    damage(directory / "audio" / "s1-003.wav", write_audio)
    with pytest.raises(InputError, match=message) as caught:
        extract_features(directory, progress=False)
    assert "s1-003" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (directory / "feats.scp").exists()
    assert not list(directory.glob(".*.part"))


def test_bad_audio_in_another_process(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train")
    break_header(directory / "audio" / "s1-003.wav", None)
    with pytest.raises(InputError, match=r"utterance s1-003: .* cannot be decoded"):
        extract_features(directory, num_jobs=2, progress=False)
    assert not (directory / "feats.scp").exists()


def test_truncated_flac(make_directory, tmp_path, replace_line):
    directory = make_directory(tmp_path / "train")
    path = directory / "audio" / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64000), 16000)
    path.write_bytes(path.read_bytes()[:60000])
    replace_line(directory / "wav.scp", 1, f"s0-000 {path}")
    with pytest.raises(InputError, match=r"utterance s0-000: .*cut.flac: (cannot be decoded|ends after)"):
        extract_features(directory, progress=False)


def test_expected_rate(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train", rate=8000)
    with pytest.raises(InputError, match="has a sample rate of 8000 Hz, expected 16000"):
        extract_features(directory, expected_rate=16000, progress=False)
    assert extract_features(directory, progress=False)


def command(directory, num_jobs=2):
    return [sys.executable, "-m", "dualtk.bin.features", "--nj", str(num_jobs), "--cmvn", str(directory)]


def test_killed_and_continued(make_directory, write_audio, tmp_path):
    """Kill -9 in the middle: the finished shards stay, and the same command ends with the same bytes."""
    whole, killed = (make_directory(tmp_path / name / "train", count=32) for name in ("whole", "killed"))
    for path in sorted((whole / "audio").iterdir()):
        write_audio(path, seconds=10, seed=int(path.stem[-3:]))
        shutil.copyfile(path, killed / "audio" / path.name)
    extract_features(whole, cmvn=True, progress=False)
    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(killed.glob(".shards/*.json"))) < 3:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "feats.scp").exists()
    time.sleep(0.5)  # workers notice within an utterance that their parent is gone
    kept = {path: path.stat().st_mtime_ns for path in killed.glob(".shards/*.json")}
    assert 3 <= len(kept) < 16
    subprocess.run(command(killed), check=True, capture_output=True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(whole) == contents(killed)
    assert not list(killed.glob(".*.part"))


def test_full_disk(make_directory, tmp_path):
    """No file may grow beyond 20 kB: the write fails as it does on a full disk, nothing half-made is left behind."""
    directory = make_directory(tmp_path / "train", count=8)
    limited = ["bash", "-c", 'ulimit -f 20 && exec "$@"', "bash", *command(directory, num_jobs=1)]
    result = subprocess.run(limited, capture_output=True, text=True)
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (directory / "feats.scp").exists()
    assert not list(directory.glob(".*.part"))
    shutil.rmtree(directory / ".shards")
    assert extract_features(directory, progress=False)
