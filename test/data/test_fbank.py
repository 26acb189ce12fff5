"""Features against kaldi-native-fbank, which sherpa-onnx computes with, and torchaudio's."""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import pytest
import soundfile
import torch
from peers import torchaudio

from dualtk.data.fbank import DEFAULT_OPTIONS, FbankOptions, fbank
from dualtk.data.kinds import features_options, read_options, require_features, write_options
from dualtk.data.samples import SampleOptions
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
    "options",
    [
        FbankOptions(),
        FbankOptions(num_mels=40),
        FbankOptions(num_mels=64, sample_rate=8000, low_frequency=50.0, high_frequency=3800.0),
    ],
    ids=str,
)
def test_noise(num_samples, options):
    samples = np.random.default_rng(num_samples).uniform(-0.3, 0.3, num_samples).astype(np.float32)
    samples[num_samples // 2 :] *= 1e-4
    ours = fbank(torch.from_numpy(samples), options.sample_rate, options)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), reference(samples, options), atol=1e-3)


@pytest.mark.parametrize("num_samples", [400, 1000, 50000])
@pytest.mark.parametrize(
    "options",
    [
        FbankOptions(),
        FbankOptions(num_mels=40, low_frequency=0.0),
        FbankOptions(num_mels=64, sample_rate=8000, low_frequency=50.0, high_frequency=3800.0),
        FbankOptions(sample_rate=11025, high_frequency=5512.5),
    ],
    ids=str,
)
def test_the_bits_of_torchaudio(num_samples, options):
    """Features that were stored when torchaudio computed them stay what they are."""
    samples = torch.rand(num_samples, generator=torch.Generator().manual_seed(num_samples)) - 0.5
    expected = torchaudio.compliance.kaldi.fbank(
        samples.unsqueeze(0),
        num_mel_bins=options.num_mels,
        sample_frequency=float(options.sample_rate),
        low_freq=options.low_frequency,
        high_freq=options.high_frequency,
        snip_edges=False,
    )
    assert torch.equal(fbank(samples, options.sample_rate, options), expected)


@pytest.mark.parametrize("num_mels", [1, 3])
def test_as_few_bins_as_the_options_allow(num_mels):
    samples = np.random.default_rng(num_mels).uniform(-0.3, 0.3, 4000).astype(np.float32)
    options = FbankOptions(num_mels=num_mels)
    ours = fbank(torch.from_numpy(samples), 16000, options)
    assert ours.shape == (25, num_mels)
    if num_mels == 3:  # the fewest that kaldi-native-fbank takes
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


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"sample_rate": 8000}, "features: mel range 20.0..7600.0 Hz does not fit a sample rate of 8000 Hz"),
        ({"low_frequency": 300.0, "high_frequency": 300.0}, "features: mel range 300.0..300.0 Hz does not fit"),
        ({"num_mels": 0}, "features.num_mels: must be greater than or equal to 1, not 0"),
        ({"num_mels": 257}, "features.num_mels: must be less than or equal to 256, not 257"),
        ({"sample_rate": 3999}, "features.sample_rate: must be greater than or equal to 4000, not 3999"),
        ({"low_frequency": -1.0}, "features.low_frequency: "),
        ({"speeds": (0.9, 0.9)}, "features.speeds: two of the speeds are the same: 0.9, 0.9"),
        ({"speeds": (5.0,)}, "features.speeds.0: must be less than or equal to 2, not 5.0"),
        ({"speeds": ()}, "features.speeds: "),
        (
            {"kind": "samples", "sample_rate": 11025},
            "features: a sample rate of 11025 Hz has no whole number of samples",
        ),
        ({"kind": "samples", "num_mels": 80}, "features.num_mels: "),
        ({"kind": "mfcc"}, "features.kind: must be one of fbank, samples, not 'mfcc'"),
        ([80], "features"),
    ],
)
def test_a_value_without_a_meaning_is_one_line(fields, line):
    with pytest.raises(InputError) as caught:
        features_options(fields, "fbank.json")
    assert str(caught.value).startswith(f"fbank.json: {line}")
    assert "\n" not in str(caught.value)


def test_a_section_without_kind_is_log_mel():
    assert features_options({}, "") == FbankOptions() == DEFAULT_OPTIONS
    assert features_options({"kind": "samples"}, "") == SampleOptions()


def test_what_follows_from_the_values():
    assert (FbankOptions(num_mels=40).dim, FbankOptions().reach) == (40, 0.0175)
    assert (SampleOptions(sample_rate=8000).dim, SampleOptions().reach) == (80, 0.01)


def test_labels_tell_options_apart():
    narrow = {"sample_rate": 8000, "high_frequency": 3800.0}
    labels = {
        FbankOptions(): "fbank80",
        FbankOptions(num_mels=64): "fbank64",
        FbankOptions(**narrow): "fbank80-8000hz-20-3800",
        FbankOptions(**{**narrow, "high_frequency": 3800.0000001}): "fbank80-8000hz-20-3800.0000001",
        FbankOptions(low_frequency=0.0): "fbank80-16000hz-0-7600",
        SampleOptions(): "samples-16000hz",
        SampleOptions(sample_rate=8000): "samples-8000hz",
    }
    assert {options: options.label for options in labels} == labels
    assert len(set(labels.values())) == len(labels)
    assert FbankOptions(speeds=(0.9, 1.0)).label == "fbank80"


@pytest.mark.parametrize("options", [FbankOptions(num_mels=40, speeds=(0.9, 1.0)), SampleOptions(sample_rate=8000)])
def test_options_travel_with_the_directory_without_the_speeds(tmp_path, options):
    write_options(tmp_path, options)
    assert read_options(tmp_path) == options.model_copy(update={"speeds": (1.0,)})


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "is not JSON"),
        ("[]", "is not JSON"),
        ("80", "is not JSON"),
        ('{"mels": 3}', "features.mels: unknown key"),
        ('{"num_mels": NaN}', "is not JSON"),
    ],
)
def test_faulty_options(tmp_path, content, line):
    (tmp_path / "fbank.json").write_text(content)
    with pytest.raises(InputError, match=rf"fbank.json: {line}") as caught:
        read_options(tmp_path)
    assert "\n" not in str(caught.value)


def test_features_of_other_options_are_refused(tmp_path):
    require_features(tmp_path, FbankOptions(num_mels=40))  # made elsewhere
    write_options(tmp_path, FbankOptions(sample_rate=8000, high_frequency=3800.0))
    with pytest.raises(
        InputError,
        match=r"fbank.json: sample_rate of the features is 8000, the configuration has ",
    ):
        require_features(tmp_path, FbankOptions())
    require_features(tmp_path, FbankOptions(sample_rate=8000, high_frequency=3800.0, speeds=(0.9, 1.0)))


def test_hours_are_computed_in_pieces(monkeypatch) -> None:
    """With the bits of all windows at once."""
    samples = torch.rand(50001, generator=torch.Generator().manual_seed(0)) - 0.5
    whole = fbank(samples, 16000)
    monkeypatch.setattr("dualtk.data.fbank.PIECE", 7)
    pieces = fbank(samples, 16000)
    assert pieces.shape == whole.shape == (313, 80)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)
