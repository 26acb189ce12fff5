"""Features in pieces against features of the whole."""

from __future__ import annotations

import io
import math
import time

import pytest
import soundfile
import torch
from peers import torchaudio

from dualtk.data.fbank import DEFAULT_OPTIONS, FbankOptions, fbank
from dualtk.data.resample import StreamingResampler
from dualtk.data.stream import FbankStream
from dualtk.errors import InputError


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    samples = 0.3 * torch.randn(num_samples, generator=generator)
    samples[num_samples // 2 :] *= 1e-3
    return samples.clamp(-1, 1)


def in_pieces(stream: FbankStream, samples: torch.Tensor, size: int, rate: int = 16000) -> torch.Tensor:
    return torch.cat([*(stream.accept(piece, rate) for piece in samples.split(size)), stream.finish()])


@pytest.mark.parametrize("size", [1, 159, 160, 161, 1000, 2560, 10**6])
@pytest.mark.parametrize("num_samples", [400, 401, 479, 480, 519, 520, 2000, 2047])
def test_pieces_give_the_frames_of_the_whole(num_samples: int, size: int) -> None:
    samples = noise(num_samples, num_samples)
    torch.testing.assert_close(in_pieces(FbankStream(), samples, size), fbank(samples, 16000), atol=1e-4, rtol=0)


def test_real_speech(test_data) -> None:
    for path in sorted((test_data / "librispeech-mini").rglob("*.flac"))[:4]:
        samples, rate = soundfile.read(path, dtype="float32")
        whole = torch.from_numpy(samples)
        torch.testing.assert_close(in_pieces(FbankStream(), whole, 640, rate), fbank(whole, rate), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_resampling_equals_torchaudio(rate: int) -> None:
    samples = noise(rate // 5, rate)
    whole = torchaudio.functional.resample(samples.double(), rate, 16000).float()  # in float32 its filter is rounded
    for size in (17, 1001, 10**6):
        resampler = StreamingResampler(rate, 16000)
        pieces = torch.cat([*(resampler.accept(piece) for piece in samples.split(size)), resampler.finish()])
        torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=0)
    feats = in_pieces(FbankStream(), samples, 333, rate)
    torch.testing.assert_close(feats, fbank(whole, 16000), atol=2e-3, rtol=0)


def test_rates_without_a_common_divisor_cost_no_more() -> None:
    resampler = StreamingResampler(44101, 16000)
    tone = torch.sin(2 * math.pi * 440 * torch.arange(44101) / 44101)
    pieces = torch.cat([resampler.accept(tone), resampler.finish()])
    expected = torch.sin(2 * math.pi * 440 * torch.arange(16000) / 16000)
    torch.testing.assert_close(pieces[100:-100], expected[100:-100], atol=2e-3, rtol=0)


@pytest.mark.parametrize("num_samples", [0, 1, 399])
def test_less_than_a_window_has_no_frames(num_samples: int) -> None:
    assert in_pieces(FbankStream(), noise(num_samples), 100).shape == (0, 80)


def test_a_stream_that_hears_nothing_has_no_frames() -> None:
    assert FbankStream(FbankOptions(num_mels=40)).finish().shape == (0, 40)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_bad_audio_is_refused_and_leaves_the_stream_as_it_was(rate: int) -> None:
    samples, stream = noise(rate), FbankStream()
    first = stream.accept(samples[:3000], rate)
    for bad, its_rate, words in (
        (torch.tensor([0.0, math.nan]), rate, "not numbers"),
        (torch.tensor([math.inf, -math.inf]), rate, "not numbers"),
        (samples, 8000, f"changed from {rate} to 8000 Hz"),
        (samples, 100, "expected 4000 to 192000"),
        (samples.unsqueeze(0), rate, "expected"),
        (torch.zeros(3, dtype=torch.int16), rate, "int16"),
    ):
        with pytest.raises(InputError, match=words):
            stream.accept(bad, its_rate)
    feats = torch.cat([first, stream.accept(samples[3000:], rate), stream.finish()])
    torch.testing.assert_close(feats, in_pieces(FbankStream(), samples, 10**6, rate), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [16000, 22050])
@pytest.mark.parametrize("heard", [0, 100, 5000])
def test_a_stream_moves_to_another_process(rate: int, heard: int) -> None:
    samples, stream, other = noise(8000), FbankStream(), FbankStream()
    first = stream.accept(samples[:heard], rate) if heard else torch.zeros(0, 80)
    file = io.BytesIO()
    torch.save(stream.save(), file)
    file.seek(0)
    other.restore(torch.load(file, weights_only=True))
    feats = torch.cat([first, other.accept(samples[heard:], rate), other.finish()])
    torch.testing.assert_close(feats, in_pieces(FbankStream(), samples, 10**6, rate), atol=1e-4, rtol=0)


def test_memory_does_not_grow() -> None:
    stream = FbankStream()
    for _ in range(300):
        stream.accept(torch.zeros(1600), 44100)
    saved = stream.save()
    assert saved["buffer"].untyped_storage().nbytes() < 16000
    assert saved["resampler"]["buffer"].untyped_storage().nbytes() < 16000


def test_it_is_fast() -> None:
    """A hundredth of the time that 1000 x real time would leave: this only notices a collapse."""
    stream, samples = FbankStream(DEFAULT_OPTIONS), noise(16000)
    stream.accept(samples, 16000)
    began = time.thread_time()
    for _ in range(10):
        stream.accept(samples, 16000)
    assert time.thread_time() - began < 1.0
