"""Noise added at a drawn ratio of powers. N samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dualtk.data.recordings import Recordings, fill, power
from dualtk.options import Decibels, Probability, Section


class NoiseOptions(Section):
    """Additive noise; see `Noise`."""

    data: Path | None = None
    """Data directory of noise recordings (`wav.scp`, perhaps `segments`); null for synthetic noise, white to pink."""
    probability: Probability = 0.5
    """Of an utterance to get noise in an epoch."""
    snr: Decibels = (5.0, 25.0)
    """Lowest and highest ratio of the powers of speech and noise, both over the whole utterance."""

    def build(self, sample_rate: int) -> Noise:
        """The noise for signals of `sample_rate` Hz."""
        return Noise(**self.arguments(), sample_rate=sample_rate)


def coloured(length: int, slope: float, random: np.random.Generator) -> Tensor:
    """Gaussian noise (length,) whose power falls as 1 / frequency ** slope: white with 0, pink with 1."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-slope / 2)
    return torch.from_numpy(np.fft.irfft(spectrum, length)).float()


class Noise:
    """Adds a part of a recording, or noise between white and pink, at a drawn signal-to-noise ratio.

    A recording that is shorter than the utterance begins again at its end. Silence stays as it is.

    Args:
        data: see `Recordings`.
        probability: of an utterance.
        snr: lowest and highest, in dB.
        sample_rate: of the signals, in Hz.
    """

    def __init__(self, data: Path | None, probability: float, snr: tuple[float, float], *, sample_rate: int) -> None:
        self.recordings = None if data is None else Recordings(data, sample_rate)
        self.probability, self.snr, self.sample_rate = probability, snr, sample_rate

    def __call__(self, samples: Tensor, random: np.random.Generator) -> Tensor:
        """A signal (N,) -> the same with noise, (N,)."""
        if random.random() >= self.probability:
            return samples
        snr, slope = random.uniform(*self.snr), random.random()
        if self.recordings is None:
            noise = coloured(len(samples), slope, random)
        else:
            noise = fill(self.recordings.draw(random, len(samples) / self.sample_rate), len(samples))
        speech, there = power(samples), power(noise)
        if there == 0.0:
            return samples
        mixed: Tensor = samples + noise * (speech / there * 10.0 ** (-snr / 10)) ** 0.5
        return mixed
