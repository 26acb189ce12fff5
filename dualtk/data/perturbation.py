"""Other voices out of the same speech: formants moved, and what source, room and microphone add, changed.

B batch, T frames, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dualtk.data.fbank import DEFAULT_OPTIONS

NUM_COSINES = 4  # cepstral coefficients that a channel changes: level, slope and broad shape of the spectrum


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def _hertz(mel: Tensor) -> Tensor:
    return 700.0 * torch.expm1(mel / 1127.0)


def warped_bins(factors: Tensor, dim: int) -> Tensor:
    """Where each of `dim` mel bins is read from when all frequencies are multiplied by factors (B,): (B, F), in bins.

    Positions are clamped to the bins that there are.
    """
    edges = [DEFAULT_OPTIONS.low_frequency, DEFAULT_OPTIONS.high_frequency]
    low, high = _mel(torch.tensor(edges, device=factors.device))
    width = (high - low) / (dim + 1)
    centres = _hertz(low + width * torch.arange(1, dim + 1, device=factors.device))
    bins: Tensor = (_mel(factors.unsqueeze(1) * centres) - low) / width - 1.0
    return bins.clamp(0.0, dim - 1.0)


class VoicePerturbation(nn.Module):
    """One draw per utterance from torch's generator of the device; frames beyond the lengths stay zero.

    Args:
        frequency_warp: largest relative change of all frequencies, the factor being uniform in 1 - w .. 1 + w: vocal
            tract length perturbation (Jaitly and Hinton, ICML workshop 2013).
        channel: standard deviation, in units of the normalised features, of a constant added to each of the first
            `NUM_COSINES` cepstral coefficients.
    """

    def __init__(self, frequency_warp: float, channel: float) -> None:
        super().__init__()
        self.frequency_warp, self.channel = frequency_warp, channel

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Normalised feats (B, T, F) and lengths (B,) -> (B, T, F), a new tensor; in evaluation the same."""
        if not self.training:
            return feats
        if self.frequency_warp > 0.0:
            feats = self._warp(feats)
        if self.channel > 0.0:
            feats = self._colour(feats, lengths)
        return feats

    def _warp(self, feats: Tensor) -> Tensor:
        batch, _, dim = feats.shape
        spread = 2.0 * torch.rand(batch, device=feats.device) - 1.0
        source = warped_bins(1.0 + self.frequency_warp * spread, dim)
        bins = torch.arange(dim, device=feats.device).view(1, dim, 1)
        interpolation = (1.0 - (source.unsqueeze(1) - bins).abs()).clamp_min(0.0)  # (B, F, F), linear
        return torch.bmm(feats, interpolation.to(feats))

    def _colour(self, feats: Tensor, lengths: Tensor) -> Tensor:
        batch, num_frames, dim = feats.shape
        offsets = self.channel * torch.randn(batch, NUM_COSINES, device=feats.device)
        order = torch.arange(NUM_COSINES, device=feats.device).unsqueeze(1)
        position = (torch.arange(dim, device=feats.device) + 0.5) / dim
        curve = offsets @ torch.cos(torch.pi * order * position)  # (B, F)
        valid = torch.arange(num_frames, device=feats.device) < lengths.unsqueeze(1)  # (B, T)
        return feats + (curve.unsqueeze(1) * valid.unsqueeze(2)).to(feats)
