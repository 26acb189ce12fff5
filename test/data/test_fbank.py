"""Features against kaldi-native-fbank, which sherpa-onnx computes with."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
import torch

from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.kinds import read_options, write_options
from dualtk.errors import InputError


def reference(samples: np.ndarray, options: FbankOptions) -> np.ndarray:
    theirs = kaldi_native_fbank.FbankOptions()
    theirs.frame_opts.samp_freq = options.sample_rate
    theirs.frame_opts.dither = 0.0
    theirs.frame_opts.snip_edges = False
    theirs.mel_opts.num_bins = options.num_mels
    theirs.mel_opts.low_freq = options.low_frequency
    theirs.mel_opts.high_freq = options.high_frequency
    computer = kaldi_native_fbank.OnlineFbank(theirs)
    computer.accept_waveform(options.sample_rate, samples.tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])


@pytest.mark.parametrize("num_samples", [400, 479, 480, 1000, 16001, 50000])
@pytest.mark.parametrize(
    "options", [FbankOptions(), FbankOptions(num_mels=40), FbankOptions(64, 8000, 50.0, 3800.0)], ids=str
)
def test_noise(num_samples, options):
    samples = np.random.default_rng(num_samples).uniform(-0.3, 0.3, num_samples).astype(np.float32)
    samples[num_samples // 2 :] *= 1e-4
    ours = fbank(torch.from_numpy(samples), options.sample_rate, options)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference(samples, options), atol=1e-3)


def test_real_speech(test_data):
    for path in sorted((test_data / "fsdd" / "recordings").glob("*_0.wav"))[:20]:
        samples, rate = soundfile.read(path, dtype="float32")
        options = FbankOptions(sample_rate=rate, high_frequency=3800.0)
        np.testing.assert_allclose(
            fbank(torch.from_numpy(samples), rate, options), reference(samples, options), atol=1e-3
        )


def test_silence_is_the_floor():
    assert torch.allclose(fbank(torch.zeros(8000), 16000), torch.tensor(1.1920929e-7).log())


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_any_sample_rate(rate):
    """A tone keeps its place among the mel bins, whatever the rate it was recorded at."""

    def tone(rate):
        return torch.sin(2 * torch.pi * 1000 * torch.arange(rate) / rate)

    feats, expected = fbank(tone(rate), rate), fbank(tone(16000), 16000)
    assert feats.shape == expected.shape == (100, 80)
    assert (feats[10:90].argmax(1) == expected[10:90].argmax(1)).all()
    torch.testing.assert_close(feats[10:90].amax(1), expected[10:90].amax(1), atol=0.05, rtol=0)


def test_speed():
    """At speed 0.9 a tone of 1000 Hz is one of 900 Hz, and lasts 1/0.9 as long."""
    time = torch.arange(16000) / 16000
    slow = fbank(torch.sin(2 * torch.pi * 1000 * time), 16000, speed=0.9)
    low = fbank(torch.sin(2 * torch.pi * 900 * time), 16000)
    assert len(slow) == 111
    assert (slow[10:90].argmax(1) == low[10:90].argmax(1)).all()


def test_refused():
    with pytest.raises(InputError, match=r"0.0249 s of audio is shorter than one window of 25 ms"):
        fbank(torch.zeros(399), 16000)
    with pytest.raises(InputError, match=r"mel range 20.0..7600.0 Hz does not fit a sample rate of 8000 Hz"):
        FbankOptions(sample_rate=8000)
    with pytest.raises(InputError, match="num_mels"):
        FbankOptions(num_mels=0)


def test_options_travel_with_the_directory(tmp_path):
    write_options(tmp_path, FbankOptions(num_mels=40))
    assert read_options(tmp_path) == FbankOptions(num_mels=40)
    (tmp_path / "fbank.json").write_text('{"mels": 3}')
    with pytest.raises(InputError, match=r"fbank.json: no feature options there"):
        read_options(tmp_path)
