"""Speech as a telephone leaves it. N samples."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dualtk.data.resample import resample
from dualtk.options import Probability, Section

RATE = 8000
MU = 255.0


class TelephoneOptions(Section):
    """A narrow band and a codec; see `Telephone`."""

    probability: Probability = 0.1
    """Of an utterance to lose all above 4 kHz in an epoch."""
    mu_law: Probability = 0.5
    """Of such an utterance to be quantised to the 8 bits of mu-law too."""

    def build(self, sample_rate: int) -> Telephone:
        """The telephone for signals of `sample_rate` Hz."""
        return Telephone(**self.arguments(), sample_rate=sample_rate)


def through_mu_law(samples: Tensor) -> Tensor:
    """A signal in [-1, 1] after 8 bits of mu-law (ITU-T G.711, by its continuous formula), clipped there."""
    compressed = samples.clamp(-1.0, 1.0).abs().mul(MU).log1p() / math.log1p(MU)
    levels = torch.round((torch.sign(samples) * compressed + 1.0) * (MU / 2))  # 0..255
    values = levels / (MU / 2) - 1.0
    return torch.sign(values) * torch.expm1(values.abs() * math.log1p(MU)) / MU


class Telephone:
    """Resamples to 8 kHz and back, with mu-law on the way or without.

    Args:
        probability: of an utterance.
        mu_law: of such an utterance to be quantised.
        sample_rate: of the signals, in Hz.
    """

    def __init__(self, probability: float, mu_law: float, *, sample_rate: int) -> None:
        self.probability, self.mu_law, self.sample_rate = probability, mu_law, sample_rate

    def __call__(self, samples: Tensor, random: np.random.Generator) -> Tensor:
        """A signal (N,) -> the same after a telephone, (N,)."""
        if random.random() >= self.probability:
            return samples
        rate = min(RATE, self.sample_rate)
        narrow = resample(samples, self.sample_rate, rate)
        if random.random() < self.mu_law:
            narrow = through_mu_law(narrow)
        return resample(narrow, rate, self.sample_rate)[: len(samples)]
