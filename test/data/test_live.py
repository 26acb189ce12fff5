"""Audio that comes through a pipe: as that of a file, whatever header it has."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch

from dualtk.data.live import file_pieces, stream_pieces
from dualtk.errors import InputError

SAMPLES = np.random.default_rng(0).uniform(-0.3, 0.3, (9011, 2))


class Trickle(io.BytesIO):
    """A pipe whose writer is slow: a few bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 7) if size >= 0 else size)

    read1 = read


def joined(pieces):
    tensors, rates = zip(*pieces)
    assert len(set(rates)) == 1
    return torch.cat(tensors), rates[0]


def written(path, samples=SAMPLES, rate=8000, **arguments):
    soundfile.write(path, samples, rate, **arguments)
    return path


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("pipe", [io.BytesIO, Trickle])
def test_wav(tmp_path, subtype, pipe):
    path = written(tmp_path / "a.wav", SAMPLES[:1011], subtype=subtype)
    samples, rate = joined(stream_pieces(pipe(path.read_bytes()), 0.1))
    expected, expected_rate = joined(file_pieces(path, 0.1))
    assert rate == expected_rate == 8000
    torch.testing.assert_close(samples, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments"), [("a.flac", {}), ("a.ogg", {}), ("a.mp3", {}), ("a.wav", {"format": "RF64"})]
)
def test_other_files(tmp_path, name, arguments):
    path = written(tmp_path / name, **arguments)
    samples, rate = joined(stream_pieces(io.BytesIO(path.read_bytes()), 0.1))
    expected, expected_rate = joined(file_pieces(path, 0.1))
    assert rate == expected_rate
    torch.testing.assert_close(samples, expected, rtol=0, atol=0)


def test_an_extensible_wav(tmp_path):
    path = written(tmp_path / "a.wav", format="WAVEX")
    samples, _ = joined(stream_pieces(io.BytesIO(path.read_bytes()), 0.1))
    torch.testing.assert_close(samples, joined(file_pieces(path, 0.1))[0], rtol=0, atol=0)


def test_raw_samples_are_given_as_they_come():
    raw = np.arange(-3000, 3001, dtype="<i2")
    pieces = list(stream_pieces(Trickle(raw.tobytes() + b"\1"), 0.1))
    samples, rate = joined(pieces)
    assert rate == 16000
    assert max(len(piece) for piece, _ in pieces) <= 10
    np.testing.assert_array_equal(samples.numpy(), raw.astype(np.float32) / 32768.0)


def test_raw_samples_that_begin_like_an_mp3():
    raw = b"\xff\xfb\x90\x00" + np.arange(4000, dtype="<i2").tobytes()
    samples, _ = joined(stream_pieces(io.BytesIO(raw), 0.1))
    np.testing.assert_array_equal(samples.numpy(), np.frombuffer(raw, "<i2").astype(np.float32) / 32768.0)


def test_nothing():
    assert list(stream_pieces(io.BytesIO(b""), 0.1)) == []


def test_a_wav_that_ends_early(tmp_path):
    content = written(tmp_path / "a.wav").read_bytes()
    with pytest.raises(InputError, match="ends after 4000 samples, its header says 9011"):
        list(stream_pieces(io.BytesIO(content[: 44 + 16000]), 0.1))
    with pytest.raises(InputError, match="is a WAV that ends before its samples"):
        list(stream_pieces(io.BytesIO(content[:30]), 0.1))


def test_a_wav_written_into_a_pipe(tmp_path):
    content = bytearray(written(tmp_path / "a.wav").read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    samples, _ = joined(stream_pieces(io.BytesIO(bytes(content)), 0.1))
    assert len(samples) == 9011


def test_what_is_not_read(tmp_path):
    content = written(tmp_path / "a.wav", subtype="IMA_ADPCM").read_bytes()
    with pytest.raises(InputError, match="is a WAV of format 17 with 4 bits: convert it to 16-bit PCM first"):
        list(stream_pieces(io.BytesIO(content), 0.1))
    content = written(tmp_path / "a.wav", SAMPLES * 32768, subtype="FLOAT").read_bytes()
    with pytest.raises(InputError, match=r"holds samples up to \de\d, expected \[-1, 1\]"):
        list(stream_pieces(io.BytesIO(content), 0.1))


@pytest.mark.slow
def test_raw_samples_of_another_rate_and_more_channels(tmp_path):
    whole = (SAMPLES * 32767).astype("<i2")
    path = written(tmp_path / "a.wav", whole, 44100)
    samples, rate = joined(stream_pieces(Trickle(whole.tobytes()), 0.1, raw_rate=44100, raw_channels=2))
    expected, expected_rate = joined(file_pieces(path, 0.1))
    assert rate == expected_rate == 44100
    torch.testing.assert_close(samples, expected, rtol=0, atol=0)
