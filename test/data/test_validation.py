"""Every fault of a data directory has a line of its own, and they are all said at once."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from dualtk.data.arks import write_entry
from dualtk.data.kaldi import left_out
from dualtk.data.validation import validate
from dualtk.tables import read_table


@pytest.fixture
def directory(make_directory, tmp_path):
    return make_directory(tmp_path / "train")


def test_whole(directory, extract_features):
    assert validate(directory, decode_audio=True) == []
    assert validate(extract_features(directory), decode_audio=True) == []


@pytest.mark.parametrize(
    ("table", "number", "line", "fault"),
    [
        ("text", 2, None, "wav.scp:2: utterance s0-002 has no transcript"),
        ("text", 2, "s0-000 AGAIN", "text:2: s0-000 occurs twice (first in line 1)"),
        ("text", 5, "s9-999 WORDS", "text:5: utterance s9-999 is not in wav.scp"),
        ("text", 1, "s0-003 WORDS", "text:2: s0-002 is out of order after s0-003 (use LC_ALL=C sort)"),
        ("utt2spk", 3, None, "wav.scp:3: utterance s0-004 has no line in utt2spk"),
        ("utt2spk", 3, "s0-004 s7", "spk2utt: speaker s7 does not agree with utt2spk"),
        ("spk2utt", 1, "s0 s0-000 s0-002", "spk2utt:1: speaker s0 does not agree with utt2spk"),
        ("wav.scp", 4, "s1-001 cat a.wav |", "wav.scp:4: s1-001: no audio file a.wav (looked in "),
        ("wav.scp", 4, "s1-001 lame a.mp3 - |", "wav.scp:4: s1-001: the program lame is not understood, and pipes "),
        ("wav.scp", 4, "s1-001 nowhere.wav", "wav.scp:4: s1-001: no audio file nowhere.wav"),
        ("text", 1, "s0(0) WORDS", "text:1: utterance s0(0): an id with a parenthesis cannot be written as trn"),
        ("text", 1, "s0-000\u200b WORDS", "text:1: the id s0-000\u200b has characters that cannot be seen"),
        ("text", 1, "s0-000\u00a0x WORDS", "text:1: the id s0-000\u00a0x has characters that cannot be seen"),
        ("text", 1, f"s0-{'0' * 198} WORDS", f"text:1: the id s0-{'0' * 37}... has 201 bytes, more than 200"),
        ("utt2spk", 1, "s0-000 s 0", "text:1: utterance s0-000: an id with a space cannot be written as trn"),
        ("utt2dur", 1, "s0-000 7.5", "utt2dur:1: utterance s0-000 lasts 0.3000 s, not 7.5 s"),
        ("utt2dur", 1, "s0-000 long", "utt2dur:1: utterance s0-000 lasts 0.3000 s, not long s"),
    ],
)
def test_faulty_line(directory, replace_line, table, number, line, fault):
    replace_line(directory / table, number, line)
    assert any(found.startswith(f"{directory}/{fault}") for found in validate(directory)), validate(directory)


def test_word_times(directory):
    (directory / "words.ctm").write_text(";; a comment\ns0-000 1 nan 0.1 WORD\ns0-002 1 0.0 0.1 WORD\ns0-002 1 0.1\n")
    expected = "expected `utt channel start duration WORD`"
    assert validate(directory) == [f"{directory}/words.ctm:{number}: {expected}" for number in (2, 4)]


def test_audio(directory, write_audio):
    audio = directory / "audio"
    write_audio(audio / "s0-000.wav", 0.3, channels=2)
    (audio / "s0-002.wav").write_bytes(b"RIFF and no more")
    (audio / "s0-004.wav").unlink()
    write_audio(audio / "s1-001.wav", 0.03)
    faults = validate(directory)
    assert len(faults) == 5
    text = "\n".join(faults)
    assert f"{directory}/wav.scp:1: utterance s0-000: {audio}/s0-000.wav: has 2 channels, expected one (mono)" in text
    assert f"{directory}/wav.scp:2: utterance s0-002: {audio}/s0-002.wav: cannot be decoded" in text
    assert f"{directory}/wav.scp:3: s0-004: no audio file {audio}/s0-004.wav" in text
    assert f"{directory}/wav.scp:4: utterance s1-001 lasts 0.0300 s, less than one output frame (0.04 s)" in text
    assert f"{directory}/utt2dur:4: utterance s1-001 lasts 0.0300 s, not 0.4000 s" in text


def test_sample_rate(directory, write_audio):
    assert len(validate(directory, expected_rate=8000)) == 5
    write_audio(directory / "audio" / "s0-000.wav", 0.3, rate=44100)
    assert validate(directory) == []
    assert "has a sample rate of 44100 Hz, expected 16000" in validate(directory, expected_rate=16000)[0]


def test_corrupt_beyond_the_header(directory, replace_line):
    path = directory / "audio" / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64000), 16000)
    path.write_bytes(path.read_bytes()[:60000])
    replace_line(directory / "wav.scp", 1, f"s0-000 {path}")
    replace_line(directory / "utt2dur", 1, "s0-000 4.0")
    assert validate(directory) == []
    (fault,) = validate(directory, decode_audio=True)
    assert fault.startswith(f"{directory}/wav.scp:1: utterance s0-000: {path}: ")


def test_features(directory, replace_line, extract_features):
    directory = extract_features(directory)
    with (directory / "other.ark").open("wb") as stream:
        offset = write_entry(stream, "s0-004", np.zeros((70, 40), np.float32))
    replace_line(directory / "feats.scp", 1, f"s0-000 {directory}/nothing.ark:7")
    replace_line(directory / "feats.scp", 3, f"s0-004 {directory}/other.ark:{offset}")
    replace_line(directory / "feats.scp", 4, "s1-001 cat feats.ark |")
    replace_line(directory / "utt2num_frames", 2, "s0-002 1")
    replace_line(directory / "feats.scp", 5, None)
    frames = read_table(directory / "utt2num_frames")["s0-004"]
    faults = validate(directory)
    assert [fault.removeprefix(f"{directory}/") for fault in faults] == [
        "wav.scp:5: utterance s1-003 has no line in feats.scp",
        f"feats.scp:1: utterance s0-000: {directory}: no archive {directory}/nothing.ark",
        "utt2num_frames:2: utterance s0-002 has 50 frames, not 1",
        "feats.scp:3: utterance s0-004 has 40 features a frame, others 80",
        *([] if frames == "70" else [f"utt2num_frames:3: utterance s0-004 has 70 frames, not {frames}"]),
        f"feats.scp:4: utterance s1-001: {directory}: cat feats.ark | is a pipe, and pipes are not run",
    ]


def test_what_goes_with_features(directory, extract_features):
    folder = extract_features(directory, cmvn=True)
    (folder / "cmvn.ark").write_bytes(b"no matrix")
    (folder / "fbank.json").write_text("{}}")
    first, second = validate(folder)
    assert first == f"{folder}/cmvn.ark: holds no Kaldi matrix"
    assert second.startswith(f"{folder}/fbank.json: is not JSON")


def test_short_features(directory, extract_features):
    folder = extract_features(directory)
    (folder / "wav.scp").unlink()
    assert validate(folder) == []
    faults = validate(folder, min_duration=0.35)
    assert faults == [f"{folder}/feats.scp:1: utterance s0-000 has 30 frames, less than 0.35 s"]


def test_no_directory(tmp_path):
    assert validate(tmp_path / "train") == [f"{tmp_path}/train: no such data directory"]
    assert validate(tmp_path) == [f"{tmp_path}: has neither wav.scp nor feats.scp"]


def test_features_that_are_no_numbers(directory, extract_features, replace_line):
    folder = extract_features(directory)
    matrix = np.zeros((30, 80), np.float32)
    matrix[7, 3] = np.inf
    with (folder / "other.ark").open("wb") as stream:
        offset = write_entry(stream, "s0-000", matrix)
    replace_line(folder / "feats.scp", 1, f"s0-000 {folder}/other.ark:{offset}")
    assert validate(folder) == [f"{folder}/feats.scp:1: utterance s0-000: holds features that are not numbers"]


def test_empty_transcripts_are_no_fault(directory, replace_line, extract_features):
    replace_line(directory / "text", 2, "s0-002")
    assert validate(directory) == []
    assert left_out(directory) == [f"{directory}/text: an empty transcript, left out: s0-002"]
    folder = extract_features(directory)
    assert validate(folder) == []
    for name in ("text", "utt2spk", "feats.scp", "utt2dur"):
        assert len(read_table(folder / name)) == 4
    (directory / "text").write_text("".join(f"{name}\n" for name in read_table(directory / "utt2spk")))
    assert f"{directory}/text: every transcript is empty" in validate(directory)


@pytest.mark.slow
def test_processes_find_the_same(directory, replace_line):
    replace_line(directory / "wav.scp", 2, f"s0-002 {directory}/text")
    assert validate(directory, num_jobs=2) == validate(directory) != []


def test_segments(directory):
    names = list(read_table(directory / "wav.scp"))
    times = ["0 0.2", "0.1 0.9", "0.0 1.9", "0.6 0.9", "0.1 -1"]
    lines = [f"{name} {name} {time}\n" for name, time in zip(names, times)]
    (directory / "segments").write_text("".join(lines))
    (directory / "utt2dur").unlink()
    said = [fault.removeprefix(f"{directory}/segments:").split(directory.name)[0] for fault in validate(directory)]
    assert [line.split(":")[0] for line in said] == ["3", "4"]
