"""Batches: what a step of training or decoding consumes.

B batch, T feature frames, F features, U labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dualtk.errors import InputError


class UnreadError(InputError):
    """An utterance that cannot be read; it says where and why.

    Args:
        utterance: its name.
        reason: the line.
    """

    def __init__(self, utterance: str, reason: str) -> None:
        super().__init__(utterance, reason)
        self.utterance, self.reason = utterance, reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Example:
    """One utterance: feats (T, F) float32, targets (U,) int64; `unread` are parts of it that could not be read."""

    name: str
    feats: Tensor
    targets: Tensor
    unread: tuple[UnreadError, ...] = ()


@dataclass
class Batch:
    """Padded utterances.

    Attributes:
        utterances: B names.
        feats: (B, T, F) float32 raw log-mel energies, 0 beyond lengths.
        feat_lengths: (B,) int64.
        targets: (B, U) int64 token ids 1..V-1, 0 beyond lengths.
        target_lengths: (B,) int64.
        share: what it counts beside those of other processes; see `BucketedBatches.share`.
        unread: utterances that belong to it and could not be read.
        is_own: False where none of it could be read: others stand in, and count nothing.
    """

    utterances: list[str]
    feats: Tensor
    feat_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    share: float = 1.0
    unread: tuple[UnreadError, ...] = ()
    is_own: bool = True

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`; copies overlap with computation where the memory is pinned."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("feats", "feat_lengths", "targets", "target_lengths")
        }
        return replace(self, **moved)

    def select(self, chosen: Tensor) -> Batch:
        """The utterances that `chosen` (B,) bool marks, padded as before."""
        names = [name for name, keep in zip(self.utterances, chosen.tolist()) if keep]
        tensors = ("feats", "feat_lengths", "targets", "target_lengths")
        return replace(self, utterances=names, **{name: getattr(self, name)[chosen] for name in tensors})

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (torch's DataLoader calls this)."""
        pinned = {
            name: getattr(self, name).pin_memory() for name in ("feats", "feat_lengths", "targets", "target_lengths")
        }
        return replace(self, **pinned)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to one batch, in the order given."""
    return Batch(
        utterances=[example.name for example in examples],
        feats=pad_sequence([example.feats for example in examples], batch_first=True),
        feat_lengths=torch.tensor([len(example.feats) for example in examples]),
        targets=pad_sequence([example.targets for example in examples], batch_first=True),
        target_lengths=torch.tensor([len(example.targets) for example in examples]),
    )
