"""Checks that every loss makes on what it is given, so that bad data is named and never silently scored.

Kernels trust shapes and positions: what does not fit would be read and written out of bounds.

Axes: B batch, T frames, U labels, S prune range.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualtk.errors import InputError


def check_shape(name: str, tensor: Tensor, *expected: int | None) -> None:
    """Raise InputError naming the argument unless its shape is the expected one; None: any size."""
    sizes = tuple(tensor.shape)
    if len(sizes) != len(expected) or any(size not in (None, found) for found, size in zip(sizes, expected)):
        wanted = ", ".join("*" if size is None else str(size) for size in expected)
        raise InputError(f"{name} must have the shape ({wanted}), not ({', '.join(map(str, sizes))})")


def class_of_blank(blank: int, vocabulary: int) -> int:
    """Return the class of blank; a negative one counts from the end of the vocabulary, as torchaudio's does."""
    if not -vocabulary <= blank < vocabulary:
        raise InputError(f"blank {blank} is outside the vocabulary of {vocabulary}")
    return blank % vocabulary


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
        blank: class of blank, as `class_of_blank` gives it.
    """
    batch, num_labels = targets.shape
    check_shape("logit_lengths", logit_lengths, batch)
    check_shape("target_lengths", target_lengths, batch)
    # On a GPU each question waits for all work before it: it is asked once.
    targets, logit_lengths, target_lengths = on_host(targets, logit_lengths, target_lengths)
    position = torch.arange(num_labels)
    bad = (targets < 0) | (targets >= vocabulary) | (targets == blank)
    bad &= position < target_lengths.unsqueeze(1)
    outside = _outside(logit_lengths, 1, num_frames) | _outside(target_lengths, 0, num_labels)
    if not (bad.any() or outside.any()):
        return
    _check_range("logit length", logit_lengths, 1, num_frames)
    _check_range("target length", target_lengths, 0, num_labels)
    utterance, index = bad.nonzero()[0].tolist()
    label = int(targets[utterance, index])
    reason = "is blank" if label == blank else f"is outside the vocabulary of {vocabulary}"
    raise InputError(f"utterance {utterance} of the batch: label {label} at position {index} {reason}")


def check_ranges(ranges: Tensor | None, batch: int, num_frames: int, num_labels: int) -> Tensor | None:
    """Return ranges (B, T, S) as int64; raise InputError unless each frame has consecutive positions within 0..U."""
    if ranges is None:
        return None
    check_shape("ranges", ranges, batch, num_frames, None)
    bad = (ranges < 0) | (ranges > num_labels)
    bad[:, :, 1:] |= ranges[:, :, 1:] - ranges[:, :, :-1] != 1
    if bad.any():
        utterance, frame, _ = bad.nonzero()[0].tolist()
        found = ranges[utterance, frame].tolist()
        raise InputError(
            f"utterance {utterance} of the batch: ranges of frame {frame} are {found}, expected consecutive positions "
            f"within 0..{num_labels}"
        )
    return ranges.long()


def on_host(*tensors: Tensor) -> Sequence[Tensor]:
    """Integer tensors on the CPU, brought there by one copy."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return tensors
    packed = torch.cat([tensor.reshape(-1).long() for tensor in tensors]).cpu()
    parts = torch.split(packed, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]


def _outside(lengths: Tensor, lowest: int, highest: int) -> Tensor:
    return (lengths < lowest) | (lengths > highest)


def _check_range(what: str, lengths: Tensor, lowest: int, highest: int) -> None:
    bad = _outside(lengths, lowest, highest)
    if bad.any():
        utterance = int(bad.nonzero()[0])
        value = int(lengths[utterance])
        raise InputError(f"utterance {utterance} of the batch: {what} {value} is not within {lowest}..{highest}")
