"""From a synthesiser's samples to a recording: silence around it, a level, and noise."""

from __future__ import annotations

import numpy as np
import torch
from espeak import Speech, Word
from numpy.typing import NDArray

from dualtk.data.resample import resample

SAMPLE_RATE = 16000
Samples = NDArray[np.float32]


def record(speech: Speech, noise_snr: float | None, generator: np.random.Generator) -> tuple[Samples, list[Word]]:
    """`speech` as 16 kHz samples in [-1, 1], between silences, with a floor of noise; its words move along.

    The level is -30 to -18 dB (RMS of the speech against full scale), the floor -75 to -60 dB. `noise_snr` adds pink
    or white noise this many dB below the speech.
    """
    samples = resample(torch.from_numpy(speech.samples), speech.sample_rate, SAMPLE_RATE).numpy()
    level = _amplitude(generator.uniform(-30, -18)) / max(_rms(samples), 1e-6)
    level = min(level, 0.95 / max(float(np.abs(samples).max()), 1e-6))
    before = int(generator.uniform(0.1, 0.4) * SAMPLE_RATE)
    after = int(generator.uniform(0.2, 0.5) * SAMPLE_RATE)
    speech_level = level * _rms(samples)
    samples = np.pad(samples * np.float32(level), (before, after))
    samples = samples + _amplitude(generator.uniform(-75, -60)) * _noise(len(samples), 0.0, generator)
    if noise_snr is not None:
        colour = float(generator.integers(2))
        samples = samples + speech_level * _amplitude(-noise_snr) * _noise(len(samples), colour, generator)
    scale = SAMPLE_RATE / speech.sample_rate
    words = [
        Word(word.text, before + round(word.start * scale), before + round(word.end * scale)) for word in speech.words
    ]
    return np.clip(samples, -0.999, 0.999).astype(np.float32), words


def _amplitude(decibel: float) -> float:
    return float(10 ** (decibel / 20))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _noise(count: int, colour: float, generator: np.random.Generator) -> Samples:
    """Gaussian noise of RMS 1 whose power falls as frequency ** -colour: 0 is white, 1 is pink."""
    noise = generator.standard_normal(count)
    if colour:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] *= np.arange(1.0, len(spectrum)) ** (-colour / 2)
        spectrum[0] = 0.0  # no offset
        noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)
