"""What training does to features: another voice, then SpecAugment's blocks of mel bins and of time replaced by the mean
(Park et al., SpecAugment, Interspeech 2019).

B batch, T frames, F features, M masks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dualtk.data.perturbation import VoicePerturbation


def _spans(counts: Tensor, widest: Tensor, extents: Tensor, num_masks: int, size: int) -> Tensor:
    """Union of random spans, (B, size) bool.

    Of `num_masks` drawn spans the first counts[b] are used; a span's width is uniform in 0..widest[b] and its start
    uniform where it fits into extents[b]. All three are (B,) int64.
    """
    batch, device = len(extents), extents.device
    draws = torch.rand(2, batch, num_masks, device=device)
    widths = (draws[0] * (widest + 1).unsqueeze(1)).long().minimum(widest.unsqueeze(1))
    starts = (draws[1] * (extents.unsqueeze(1) - widths + 1)).long()
    used = torch.arange(num_masks, device=device) < counts.unsqueeze(1)  # (B, M)
    position = torch.arange(size, device=device)
    inside = (position >= starts.unsqueeze(2)) & (position < (starts + widths).unsqueeze(2))  # (B, M, size)
    return (inside & used.unsqueeze(2)).any(dim=1)


class SpecAugment(nn.Module):
    """Masks of frequency and time; no time warping, which brings little (section 4.4 there).

    Draws from torch's generator of the device, so the state that a checkpoint keeps repeats the masks. Masked values
    are 0: the mean, if the features are normalised. Frames beyond the lengths are never touched.

    Args:
        num_frequency_masks: mF in the paper.
        frequency_width: F, most mel bins of one mask.
        num_time_masks: mT; with `time_rate` the most that any utterance gets.
        time_width: most frames of one time mask; None for no limit but the fraction.
        time_fraction: p, most of an utterance that one time mask may cover.
        time_rate: adaptive multiplicity (Park et al., SpecAugment on large scale datasets, 2020): time masks per
            frame of the utterance, up to `num_time_masks`; None for always `num_time_masks`.
    """

    def __init__(
        self,
        num_frequency_masks: int = 2,
        frequency_width: int = 27,
        num_time_masks: int = 10,
        time_width: int | None = None,
        time_fraction: float = 0.05,
        time_rate: float | None = None,
    ) -> None:
        super().__init__()
        if min(num_frequency_masks, frequency_width, num_time_masks, time_width or 0) < 0:
            raise ValueError("numbers and widths of masks must not be negative")
        if not 0.0 <= time_fraction <= 1.0 or (time_rate is not None and time_rate < 0.0):
            raise ValueError("time_fraction must lie in [0, 1] and time_rate must not be negative")
        self.num_frequency_masks = num_frequency_masks
        self.frequency_width = frequency_width
        self.num_time_masks = num_time_masks
        self.time_width = time_width
        self.time_fraction = time_fraction
        self.time_rate = time_rate

    def mask(self, lengths: Tensor, num_frames: int, dim: int) -> Tensor:
        """Where a batch of `lengths` (B,) is masked, (B, T, F) bool; one draw may serve several passes."""
        full = torch.full_like(lengths, dim)
        frequency_width = torch.full_like(lengths, min(self.frequency_width, dim))
        frequency_count = torch.full_like(lengths, self.num_frequency_masks)
        frequency = _spans(frequency_count, frequency_width, full, self.num_frequency_masks, dim)

        time_width = (lengths * self.time_fraction).long()
        if self.time_width is not None:
            time_width = time_width.clamp(max=self.time_width)
        time_count = torch.full_like(lengths, self.num_time_masks)
        if self.time_rate is not None:
            time_count = time_count.minimum((lengths * self.time_rate).long())
        time = _spans(time_count, time_width, lengths, self.num_time_masks, num_frames)

        valid = torch.arange(num_frames, device=lengths.device) < lengths.unsqueeze(1)  # (B, T)
        return (frequency.unsqueeze(1) | time.unsqueeze(2)) & valid.unsqueeze(2)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Mask normalised features in training, leave them as they are in evaluation.

        Args:
            feats: (B, T, F).
            lengths: (B,) int64 on the same device.

        Returns:
            (B, T, F), a new tensor in training.
        """
        if not self.training:
            return feats
        return feats.masked_fill(self.mask(lengths, feats.shape[1], feats.shape[2]), 0.0)


class Augmentation(nn.Module):
    """Voice perturbation, then SpecAugment, from `start_step` on.

    Alignments are found much sooner on features as they are (egs/synthetic/asr1/RESULTS.md), and need to be found once.

    Args:
        start_step: first training step with augmentation.
        frequency_warp, channel: see `VoicePerturbation`.
        masks: see `SpecAugment`.
    """

    def __init__(
        self,
        start_step: int = 0,
        frequency_warp: float = 0.0,
        channel: float = 0.0,
        **masks: int | float | None,
    ) -> None:
        super().__init__()
        self.start_step = start_step
        self.voice = VoicePerturbation(frequency_warp, channel)
        self.masks = SpecAugment(**masks)  # type: ignore[arg-type]

    def forward(self, feats: Tensor, lengths: Tensor, step: int) -> Tensor:
        """Normalised feats (B, T, F) and lengths (B,) at `step` -> (B, T, F)."""
        if step < self.start_step:
            return feats
        augmented: Tensor = self.masks(self.voice(feats, lengths), lengths)
        return augmented
