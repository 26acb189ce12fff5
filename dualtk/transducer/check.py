"""Checks that every loss makes on its targets and lengths, so that bad data is named and never silently scored.

Axes: B batch, T frames, U labels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.errors import InputError


def check_targets(
    targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, num_frames: int, vocabulary: int, blank: int
) -> None:
    """Raise InputError naming the utterance (and the position) whose length or label cannot be.

    Args:
        targets: (B, U) labels, read up to target_lengths.
        logit_lengths: (B,) between 1 and num_frames.
        target_lengths: (B,) between 0 and U.
        num_frames: T of the padded batch.
        vocabulary: number of classes, blank included.
        blank: class of blank.
    """
    if not 0 <= blank < vocabulary:
        raise InputError(f"blank {blank} is outside the vocabulary of {vocabulary}")
    batch, num_labels = targets.shape
    if logit_lengths.shape != (batch,) or target_lengths.shape != (batch,):
        raise InputError(f"lengths must have the shape ({batch},)")
    _check_range("logit length", logit_lengths, 1, num_frames)
    _check_range("target length", target_lengths, 0, num_labels)
    position = torch.arange(num_labels, device=targets.device)
    bad = (targets < 0) | (targets >= vocabulary) | (targets == blank)
    bad &= position < target_lengths.unsqueeze(1)
    if bad.any():
        utterance, index = bad.nonzero()[0].tolist()
        label = int(targets[utterance, index])
        reason = "is blank" if label == blank else f"is outside the vocabulary of {vocabulary}"
        raise InputError(f"utterance {utterance} of the batch: label {label} at position {index} {reason}")


def _check_range(what: str, lengths: Tensor, lowest: int, highest: int) -> None:
    bad = (lengths < lowest) | (lengths > highest)
    if bad.any():
        utterance = int(bad.nonzero()[0])
        value = int(lengths[utterance])
        raise InputError(f"utterance {utterance} of the batch: {what} {value} is not within {lowest}..{highest}")
