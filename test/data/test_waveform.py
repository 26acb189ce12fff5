"""What training does to audio: by how much, of what kind, and from nothing but its generator."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from peers import torchaudio

from dualtk.data.audio import read_audio
from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.kaldi import AudioSource
from dualtk.data.noise import NoiseOptions, coloured
from dualtk.data.recordings import RecordingError, power
from dualtk.data.rooms import RoomOptions, reverberate, synthetic_response
from dualtk.data.samples import SampleOptions, sample_frames
from dualtk.data.telephone import TelephoneOptions, through_mu_law
from dualtk.data.waveform import WaveformOptions
from dualtk.errors import InputError

RATE = 16000


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def speech(write_audio, tmp_path: Path) -> torch.Tensor:
    return read_audio(AudioSource(write_audio(tmp_path / "speech.wav", 1.3, seed=5)))[0]


@pytest.fixture
def noises(write_audio, tmp_path: Path) -> Path:
    """A data directory of three noises, of another rate and shorter than the speech among them."""
    folder = tmp_path / "noise"
    made = [
        write_audio(folder / f"n{index}.wav", seconds, rate, seed=20 + index)
        for index, (seconds, rate) in enumerate([(5.0, RATE), (0.4, 22050), (2.0, 8000)])
    ]
    (folder / "wav.scp").write_text("".join(f"n{index} {path}\n" for index, path in enumerate(made)))
    return folder


def spectrum(samples: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the mean power there, of windows of 1,024 samples."""
    window = torch.hann_window(1024)
    density = torch.stft(samples.float(), 1024, window=window, return_complex=True).abs().square().mean(1)
    return np.fft.rfftfreq(1024, 1 / RATE), density.double().numpy()


def decibels(ratio: float) -> float:
    return 10.0 * math.log10(ratio)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 17.3])
def test_the_drawn_ratio_is_reached_exactly(speech, noises: Path, recorded: bool, snr: float) -> None:
    noise = NoiseOptions(data=noises if recorded else None, probability=1.0, snr=(snr, snr)).build(RATE)
    for seed in range(6):
        mixed = noise(speech, generator(seed))
        assert mixed.shape == speech.shape
        assert decibels(power(speech) / power(mixed - speech)) == pytest.approx(snr, abs=1e-3)


def test_ratios_fill_their_interval_and_probability_is_kept(speech) -> None:
    noise = NoiseOptions(probability=0.25, snr=(5.0, 15.0)).build(RATE)
    mixed = [noise(speech, generator(seed)) for seed in range(400)]
    ratios = [decibels(power(speech) / power(one - speech)) for one in mixed if one is not speech]
    assert 70 < len(ratios) < 130
    assert 5.0 <= min(ratios) < 6.0
    assert 14.0 < max(ratios) <= 15.0


def test_a_part_of_a_long_noise_is_drawn_and_a_short_one_begins_again(speech, noises: Path) -> None:
    recordings = NoiseOptions(data=noises).build(RATE).recordings
    lengths = {len(recordings.draw(generator(seed), 1.3)) for seed in range(20)}
    assert lengths == {round(1.3 * RATE), round(0.4 * RATE)}
    whole, _ = read_audio(AudioSource(noises / "n0.wav"))
    (noises / "wav.scp").write_text(f"n0 {noises / 'n0.wav'}\n")
    alone = NoiseOptions(data=noises).build(RATE).recordings
    starts = set()
    for seed in range(5):
        part = alone.draw(generator(seed), 1.25)
        places = (whole.unfold(0, 20, 1) == part[:20]).all(1).nonzero().flatten().tolist()
        assert torch.equal(whole[places[0] : places[0] + len(part)], part)
        assert len(places) == 1
        starts |= set(places)
    assert len(starts) == 5


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_colour_of_synthetic_noise(slope: float) -> None:
    """3 dB less an octave for each unit of the slope."""
    frequencies, density = spectrum(coloured(200_000, slope, generator()))
    inside = (frequencies > 100) & (frequencies < 7000)
    fitted = np.polyfit(np.log(frequencies[inside]), np.log(density[inside]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.05)


def test_silence_stays_silence() -> None:
    silence = torch.zeros(RATE)
    options = WaveformOptions(room=RoomOptions(probability=1.0), noise=NoiseOptions(probability=1.0), volume=10.0)
    changed = options.build(SampleOptions())(silence, RATE, 1.0, generator())
    assert not changed.any()


@pytest.mark.parametrize("seconds", [0.2, 0.7])
def test_a_synthetic_room_decays_by_60_decibels_in_its_time(seconds: float) -> None:
    """By Schroeder's backward integration (1965), between -5 and -25 dB, of the reflected sound."""
    tails = [synthetic_response(RATE, seconds, 5.0, generator(seed)).double()[1:].square() for seed in range(20)]
    energy = torch.stack(tails).mean(0).flip(0).cumsum(0).flip(0)
    level = 10 * torch.log10(energy / energy[0])
    start, end = int((level > -5).sum()), int((level > -25).sum())
    assert (end - start) / RATE * 3 == pytest.approx(seconds, rel=0.03)
    for tail in tails:
        assert decibels(1.0 / float(tail.sum())) == pytest.approx(5.0, abs=1e-4)


def test_reverberation_is_a_convolution_with_the_direct_sound_in_place(speech) -> None:
    response = torch.cat([torch.zeros(37), synthetic_response(RATE, 0.3, 3.0, generator())])
    wet = reverberate(speech, response)
    expected = np.convolve(speech.numpy().astype(np.float64), response.numpy().astype(np.float64))[
        37 : 37 + len(speech)
    ]
    assert len(wet) == len(speech)
    assert power(wet) == pytest.approx(power(speech), rel=1e-6)
    assert np.allclose(wet.numpy() / np.abs(wet.numpy()).max(), expected / np.abs(expected).max(), atol=1e-5)
    unchanged = reverberate(speech, torch.tensor([0.0, 0.0, 0.5]))
    assert torch.allclose(unchanged, speech, atol=1e-6)


def test_a_telephone_leaves_little_above_four_kilohertz() -> None:
    noise = 0.1 * coloured(RATE * 2, 0.0, generator())
    narrow = TelephoneOptions(probability=1.0, mu_law=0.0).build(RATE)(noise, generator())
    assert narrow.shape == noise.shape
    frequencies, density = spectrum(narrow)
    _, before = spectrum(noise)
    kept = density / before
    assert kept[frequencies > 4200].max() < 0.1  # the resampler's filter has six zero crossings
    assert kept[frequencies > 5000].max() < 1e-3
    assert np.allclose(kept[(frequencies > 100) & (frequencies < 2800)], 1.0, atol=0.1)


def test_mu_law_has_256_values_and_the_quality_of_the_standard() -> None:
    samples = torch.sin(torch.arange(8000) * 0.37) * torch.linspace(0.003, 1.0, 8000)
    coded = through_mu_law(samples)
    assert len(coded.unique()) <= 256
    for amplitude, lowest in ((1.0, 35.0), (0.1, 34.0), (0.01, 25.0)):  # ITU-T G.711: about 38 dB over 40 dB of range
        tone = amplitude * torch.sin(torch.arange(8000) * 0.37)
        assert decibels(power(tone) / power(through_mu_law(tone) - tone)) > lowest
    codes = torchaudio.functional.mu_law_encoding(samples, 256)
    assert torch.allclose(coded, torchaudio.functional.mu_law_decoding(codes, 256), atol=1e-6)


def test_volume_is_an_offset_of_log_mel_energies(speech) -> None:
    features = FbankOptions(num_mels=20)
    plain = fbank(speech, RATE, features)
    offsets = []
    for seed in range(50):
        louder = WaveformOptions(volume=6.0).build(features)(speech, RATE, 1.0, generator(seed))
        difference = (louder - plain)[plain > -10]
        assert float(difference.std()) < 1e-3
        offsets.append(10 * float(difference.mean()) / math.log(10))  # of energies, so in dB
    assert -6.0 <= min(offsets) < -4.5
    assert 4.5 < max(offsets) <= 6.0


@pytest.mark.parametrize("rate", [RATE, 22050])
@pytest.mark.parametrize("speed", [1.0, 0.9])
@pytest.mark.parametrize("random", [None, generator()])
def test_without_changes_the_features_are_those_that_are_stored(write_audio, tmp_path, rate, speed, random) -> None:
    samples, _ = read_audio(AudioSource(write_audio(tmp_path / "a.wav", 0.8, rate)))
    for options, whole in ((FbankOptions(), fbank), (SampleOptions(), sample_frames)):
        made = WaveformOptions().build(options)(samples, rate, speed, random)
        assert torch.equal(made, whole(samples, rate, options, speed))


def test_everything_at_once_follows_from_the_generator(speech, noises: Path) -> None:
    always = {"probability": 1.0}
    options = WaveformOptions(room=always, noise={**always, "data": noises}, telephone=always, volume=5.0)
    make = options.build(FbankOptions())
    assert torch.equal(make(speech, RATE, 1.1, generator(3)), make(speech, RATE, 1.1, generator(3)))
    assert not torch.equal(make(speech, RATE, 1.1, generator(3)), make(speech, RATE, 1.1, generator(4)))


def test_recorded_rooms_and_what_is_refused(speech, tmp_path: Path) -> None:
    response = synthetic_response(RATE, 0.3, 3.0, generator()).numpy()
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    table = tmp_path / "wav.scp"
    table.write_text("room room.wav\n")
    for data in (tmp_path, table):
        room = RoomOptions(data=data, probability=1.0).build(RATE)
        assert torch.equal(room(speech, generator()), reverberate(speech, torch.from_numpy(response)))
    soundfile.write(tmp_path / "room.wav", np.zeros(100), RATE)
    with pytest.raises(InputError, match=r"waveform\.room\.data: an impulse response is all zero"):
        room(speech, generator())
    soundfile.write(tmp_path / "room.wav", np.zeros((100, 8)), RATE)
    with pytest.raises(InputError, match=r"waveform\.room\.data: .*room\.wav: has 8 channels, expected one"):
        WaveformOptions(room=RoomOptions(data=tmp_path)).build(FbankOptions())
    (tmp_path / "room.wav").unlink()
    with pytest.raises(InputError, match=r"waveform\.room\.data: .*wav\.scp:1: room: no audio file room\.wav"):
        WaveformOptions(room=RoomOptions(data=tmp_path)).build(FbankOptions())
    with pytest.raises(InputError, match=r"waveform\.noise\.data: .*nowhere: expected a data directory with wav\.scp"):
        WaveformOptions(noise=NoiseOptions(data=tmp_path / "nowhere")).build(FbankOptions())
    with pytest.raises(ValueError, match="the smaller first"):
        NoiseOptions(snr=(20.0, 5.0))


def test_a_noise_at_fault_is_no_fault_of_the_utterance(speech, noises: Path) -> None:
    make = WaveformOptions(noise={"probability": 1.0, "data": noises}).build(FbankOptions())
    for path in noises.glob("*.wav"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RecordingError, match=rf"^{re.escape(str(noises))}: .*n\d\.wav: "):
        make(speech, RATE, 1.0, generator())
