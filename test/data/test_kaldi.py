"""Tables of Kaldi data directories: what is written is read, and every fault has its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualtk.data.kaldi import AudioSource, Utterance, read_audio_sources, write_data_directory
from dualtk.errors import InputError
from dualtk.tables import read_table, write_table


def test_speakers_and_durations(make_directory, tmp_path):
    directory = make_directory(tmp_path / "train", count=3)
    assert read_table(directory / "spk2utt") == {"s0": "s0-000 s0-002", "s1": "s1-001"}
    assert read_table(directory / "utt2dur")["s0-002"] == "0.5000"


def test_two_utterances_of_one_name(tmp_path):
    twins = [Utterance("u", "s", f"{number}.wav", "A", 1.0) for number in range(2)]
    with pytest.raises(InputError, match=r"utterance u occurs twice: 0.wav and 1.wav"):
        write_data_directory(tmp_path / "train", twins)
    assert not (tmp_path / "train").exists()


def test_audio_paths(write_audio, tmp_path, monkeypatch):
    directory = tmp_path / "data" / "train"
    here, inside = write_audio(tmp_path / "wavs" / "a.wav"), write_audio(directory / "wavs" / "b.wav")
    write_table(directory / "wav.scp", {"a": "wavs/a.wav", "b": "wavs/b.wav", "c": here})
    monkeypatch.chdir(tmp_path)
    sources = read_audio_sources(Path("data/train"))
    assert {key: source.path.resolve() for key, source in sources.items()} == {"a": here, "b": inside, "c": here}


def test_current_folder_comes_first(write_audio, tmp_path, monkeypatch):
    outer = write_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "train" / "a.wav")
    write_table(tmp_path / "train" / "wav.scp", {"a": "a.wav"})
    monkeypatch.chdir(tmp_path)
    assert read_audio_sources(tmp_path / "train")["a"].path.resolve() == outer


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("touch pwned |", "the program touch is not understood"),
        ("| touch pwned", "a command that it writes to is not understood"),
        ("cat a.wav; touch pwned |", "; is not understood|which needs a shell"),
        ("cat $(touch pwned) |", "which needs a shell"),
        ("cat `touch pwned` |", "which needs a shell"),
        ("sox a.wav -t wav - norm |", "the effect norm of sox is not understood"),
        ("sox a.wav -t wav - speed 1.1 |", "the effect speed of sox is not understood"),
        ("sox --norm a.wav -t wav - |", "--norm of sox"),
        ("ffmpeg -i a.wav -af atempo=2 -f wav - |", "the filter atempo=2 of ffmpeg"),
        ("flac -s a.wav |", "flac without -c -d"),
        ("cat 'a.wav |", "its quotes"),
    ],
)
def test_pipes_that_are_not_understood(tmp_path, monkeypatch, value, fault):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "wav.scp", {"a": value})
    with pytest.raises(InputError, match=rf"wav.scp:1: a: .*({fault}).*write its audio to a file"):
        read_audio_sources(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_missing_audio_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "data" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = {f"u{index:04d}": f"wav/{index}.wav" for index in range(7500)}
    write_table(Path("data/train/wav.scp"), names | {"v": "sph2pipe -f wav -p b.sph |"})
    with pytest.raises(InputError) as caught:
        read_audio_sources(Path("data/train"))
    line = str(caught.value)
    assert line.startswith("data/train/wav.scp:1: u0000: no audio file wav/0.wav (looked in ")
    assert f"(looked in {tmp_path}, {tmp_path}/data/train, {tmp_path}/data); nor those of 7500 more: u0001, " in line
    assert len(line) < 500


def test_the_parent_of_the_directory_is_looked_in(write_audio, tmp_path):
    audio = write_audio(tmp_path / "data" / "wavs" / "a.wav")
    (tmp_path / "data" / "train").mkdir()
    write_table(tmp_path / "data" / "train" / "wav.scp", {"a": "wavs/a.wav"})
    assert read_audio_sources(tmp_path / "data" / "train")["a"].path == audio


def test_a_file_of_the_same_name_elsewhere_is_no_audio(write_audio, tmp_path):
    write_audio(tmp_path / "train" / "a.wav")
    write_table(tmp_path / "train" / "wav.scp", {"a": "/nowhere/a.wav"})
    with pytest.raises(InputError, match=r"wav.scp:1: a: no audio file /nowhere/a.wav$"):
        read_audio_sources(tmp_path / "train")


def test_segments(write_audio, tmp_path):
    audio = write_audio(tmp_path / "r.wav", seconds=2.0)
    write_table(tmp_path / "wav.scp", {"r": audio})
    write_table(tmp_path / "segments", {"u1": "r 0.0 0.5", "u2": "r 0.5 1.75"})
    assert read_audio_sources(tmp_path) == {"u1": AudioSource(audio, 0.0, 0.5), "u2": AudioSource(audio, 0.5, 1.75)}


@pytest.mark.parametrize(
    "value", ["r 0.5", "r 0.5 0.5", "r -1 1", "x 0 1", "r a b", "r 0 1 C", "r 0 1 0 0", "r 0 inf", "r nan 1"]
)
def test_faulty_segment(write_audio, tmp_path, value):
    write_table(tmp_path / "wav.scp", {"r": write_audio(tmp_path / "r.wav")})
    write_table(tmp_path / "segments", {"u": value})
    with pytest.raises(InputError, match=r"segments:1: u: expected 'recording start end'"):
        read_audio_sources(tmp_path)
