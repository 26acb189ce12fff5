"""What training does to features: another voice, then SpecAugment's blocks of mel bins and of time replaced by the mean
(Park et al., SpecAugment, Interspeech 2019).

B batch, T frames, F features, M masks.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from dualtk.data.perturbation import VoicePerturbation
from dualtk.options import Fraction, Probability, Section, Unit


class AugmentOptions(Section):
    """What training does to normalised features; see `Augmentation`."""

    start_step: Annotated[NonNegativeInt, Unit("training steps")] = 0
    """First step with augmentation; alignments are learnt sooner on features as they are."""
    frequency_warp: Annotated[Fraction, Unit("of each frequency")] = 0.0
    """Largest relative change of all frequencies of an utterance, as by another length of the vocal tract."""
    channel: Annotated[NonNegativeFloat, Unit("standard deviations of the features")] = 0.0
    """Size of a smooth curve over frequency that is added to an utterance, as by another room or microphone."""
    num_frequency_masks: Annotated[NonNegativeInt, Unit("masks")] = 2
    """Blocks of mel bins that are masked in each utterance (mF in the paper of SpecAugment)."""
    frequency_width: Annotated[NonNegativeInt, Unit("mel bins")] = 27
    """Widest block of mel bins (F in the paper)."""
    num_time_masks: Annotated[NonNegativeInt, Unit("masks")] = 10
    """Blocks of frames that are masked in each utterance (mT in the paper); with `time_rate` the most that any gets."""
    time_width: Annotated[NonNegativeInt | None, Unit("feature frames")] = None
    """Longest block of frames; null for no limit but `time_fraction`."""
    time_fraction: Annotated[Probability, Unit("of the utterance")] = 0.05
    """Longest block of frames relative to the utterance (p in the paper)."""
    time_rate: Annotated[NonNegativeFloat | None, Unit("masks per feature frame")] = None
    """Blocks of frames for each frame of an utterance, up to `num_time_masks`; null for always `num_time_masks`."""

    def build(self) -> Augmentation:
        """The module."""
        return Augmentation(**self.arguments())


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
        num_frequency_masks: int,
        frequency_width: int,
        num_time_masks: int,
        time_width: int | None,
        time_fraction: float,
        time_rate: float | None,
    ) -> None:
        super().__init__()
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

    Alignments are learnt much sooner on features as they are (egs/synthetic/asr1/RESULTS.md), and only once.

    Args:
        start_step: first training step with augmentation.
        frequency_warp, channel: see `VoicePerturbation`.
        num_frequency_masks, frequency_width, num_time_masks, time_width, time_fraction, time_rate: see `SpecAugment`.
    """

    def __init__(
        self,
        start_step: int,
        frequency_warp: float,
        channel: float,
        num_frequency_masks: int,
        frequency_width: int,
        num_time_masks: int,
        time_width: int | None,
        time_fraction: float,
        time_rate: float | None,
    ) -> None:
        super().__init__()
        self.start_step = start_step
        self.voice = VoicePerturbation(frequency_warp, channel)
        self.masks = SpecAugment(
            num_frequency_masks, frequency_width, num_time_masks, time_width, time_fraction, time_rate
        )

    def forward(self, feats: Tensor, lengths: Tensor, step: int) -> Tensor:
        """Normalised feats (B, T, F) and lengths (B,) at `step` -> (B, T, F)."""
        if step < self.start_step:
            return feats
        augmented: Tensor = self.masks(self.voice(feats, lengths), lengths)
        return augmented
