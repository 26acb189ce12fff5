"""Windows of audio to log-mel energies, for whole signals and streams. T windows, F mels, N samples of a window."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

PREEMPHASIS = 0.97
POVEY = 0.85  # power of a Hann window that Kaldi calls Povey's


def mel_banks(num_mels: int, fft_size: int, sample_rate: int, low: float, high: float) -> Tensor:
    """Kaldi's triangular filters, (F, fft_size / 2 + 1): weights of the bins of a power spectrum, 0 at half the rate.

    Args:
        num_mels: F; the triangles' feet divide the range from `low` to `high` into F + 1 equal parts of the mel scale.
        fft_size: samples of the transform.
        sample_rate: in Hz.
        low: lower foot of the first triangle in Hz.
        high: upper foot of the last triangle in Hz.
    """
    bottom, top = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (low, high))
    width = (top - bottom) / (num_mels + 1)
    order = torch.arange(num_mels).unsqueeze(1)
    left, centre, right = (bottom + (order + place) * width for place in (0.0, 1.0, 2.0))  # (F, 1) each
    hertz = sample_rate / fft_size * torch.arange(fft_size / 2)
    mel = 1127.0 * (1.0 + hertz / 700.0).log()
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    return functional.pad(torch.minimum(rising, falling).clamp(min=0.0), (0, 1))


class LogMel:
    """Log-mel energies by Kaldi's recipe, with its window and filters computed once.

    The mean of a window is removed, then it is pre-emphasised by 0.97, weighted by Povey's window and padded to a power
    of two; energies are those of the power spectrum, floored at the distance of 1 to the next float, 1.19e-7.

    Args:
        size: N.
        num_mels: F.
        sample_rate: in Hz.
        low: lower edge of the lowest filter in Hz.
        high: upper edge of the highest filter in Hz.
    """

    def __init__(self, size: int, num_mels: int, sample_rate: int, low: float, high: float) -> None:
        self.size = size
        self.fft_size = 1 << (size - 1).bit_length()
        self.window = torch.hann_window(size, periodic=False).pow(POVEY)
        self.banks = mel_banks(num_mels, self.fft_size, sample_rate, low, high)

    def __call__(self, windows: Tensor) -> Tensor:
        """Windows (T, N) of float32 -> (T, F)."""
        windows = windows - windows.mean(1, keepdim=True)
        before = torch.cat([windows[:, :1], windows[:, :-1]], dim=1)
        shaped = (windows - PREEMPHASIS * before) * self.window
        power = torch.fft.rfft(shaped, n=self.fft_size).abs().square()
        energies: Tensor = power @ self.banks.T  # (T, bins) -> (T, F)
        return energies.clamp(min=torch.finfo(torch.float32).eps).log()
