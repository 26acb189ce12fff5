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


@pytest.mark.parametrize("value", ["touch pwned |", "| touch pwned", "sph2pipe -f wav a.sph |"])
def test_pipes_are_not_run(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "wav.scp", {"a": value})
    with pytest.raises(InputError, match=r"wav.scp:1: a is a pipe, and pipes are not run"):
        read_audio_sources(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_missing_audio(tmp_path):
    write_table(tmp_path / "wav.scp", {"a": "nowhere/a.wav"})
    with pytest.raises(InputError, match=r"wav.scp:1: a: no audio file nowhere/a.wav"):
        read_audio_sources(tmp_path)


def test_segments(write_audio, tmp_path):
    audio = write_audio(tmp_path / "r.wav", seconds=2.0)
    write_table(tmp_path / "wav.scp", {"r": audio})
    write_table(tmp_path / "segments", {"u1": "r 0.0 0.5", "u2": "r 0.5 1.75"})
    assert read_audio_sources(tmp_path) == {"u1": AudioSource(audio, 0.0, 0.5), "u2": AudioSource(audio, 0.5, 1.75)}


@pytest.mark.parametrize("value", ["r 0.5", "r 0.5 0.5", "r -1 1", "x 0 1", "r a b", "r 0 1 2", "r 0 inf", "r nan 1"])
def test_faulty_segment(write_audio, tmp_path, value):
    write_table(tmp_path / "wav.scp", {"r": write_audio(tmp_path / "r.wav")})
    write_table(tmp_path / "segments", {"u": value})
    with pytest.raises(InputError, match=r"segments:1: u: expected 'recording start end'"):
        read_audio_sources(tmp_path)
