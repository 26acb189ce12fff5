"""The length of MP3 files: with a header that says it, without one, with one of a part, and cut off."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from dualtk.data.audio import read_audio, read_header
from dualtk.data.kaldi import AudioSource
from dualtk.data.mp3 import is_mp3
from dualtk.errors import InputError


@pytest.fixture
def mp3(tmp_path):
    """Silence with some noise in the middle: an MP3 of a variable bit rate has short frames first."""
    samples = np.zeros(48000)
    samples[20000:] = np.random.default_rng(0).uniform(-0.5, 0.5, 28000)

    def write(name, rate=16000, channels=1):
        path = tmp_path / name
        shape = np.stack([samples] * channels, axis=1)
        soundfile.write(path, shape, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2)
        return path

    return write


def frames_alone(content):
    """An MP3 without its first frame, which holds the header of the encoder."""
    start = content.index(b"\xff", 4)
    while not is_mp3(content[start : start + 4]):
        start = content.index(b"\xff", start + 1)
    return content[start:]


def decoded(path):
    """What ffmpeg makes of it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-v", "0", "-i", path, "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.float32)


def read(path, *arguments):
    return read_audio(AudioSource(path, *arguments))[0].numpy()


def test_with_a_header(mp3):
    path = mp3("a.mp3")
    samples = read(path)
    assert len(samples) == read_header(path).num_samples
    assert abs(len(samples) - 48000) < 2400


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
def test_without_a_header(mp3, rate):
    """libsndfile alone believes the size of the first frame."""
    path = mp3("a.mp3", rate)
    path.write_bytes(frames_alone(path.read_bytes()))
    samples = read(path)
    assert read_header(path).num_samples == len(samples) > 48000
    np.testing.assert_allclose(read(path, 1.0, 1.5), samples[rate : round(1.5 * rate)], atol=1e-6)
    expected = decoded(path)
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_one_after_another(mp3):
    path = mp3("a.mp3")
    one = len(read(path))
    path.write_bytes(path.read_bytes() * 3)
    samples = read(path)
    assert len(samples) > 3 * one
    assert np.abs(samples[-8000:]).max() > 0.1


def test_of_two_rates(mp3):
    first, second = mp3("a.mp3"), mp3("b.mp3", 24000)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(
        InputError, match=r"a.mp3: is an MP3 that changes from 16000 Hz and 1 channels to 24000 Hz and 1"
    ):
        read(first)


def test_cut_off(mp3):
    path = mp3("a.mp3")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a.mp3: ends after \d+ samples, its header says \d+"):
        read_header(path)


def test_tags(mp3):
    path = mp3("a.mp3")
    bare = frames_alone(path.read_bytes())
    path.write_bytes(bare)
    expected = read(path)
    tag = b"ID3\x03\x00\x00\x00\x00\x02\x00" + b"\xff\xfb" * 128
    path.write_bytes(tag + bare + b"TAG" + bytes(125))
    np.testing.assert_array_equal(read(path), expected)
