"""Random batches, and the sum over all paths by listing them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass
class Batch:
    logits: Tensor
    targets: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor

    @property
    def args(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.targets, self.logit_lengths, self.target_lengths


def random_batch(
    batch: int = 3, frames: int = 7, labels: int = 4, vocabulary: int = 6, *, seed: int = 0, blank: int = 0
) -> Batch:
    """Ragged; the first utterance has all frames and the last one all labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, frames, labels + 1, vocabulary, generator=generator)
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator)
    logit_lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    target_lengths = torch.randint(0, labels + 1, (batch,), generator=generator)
    logit_lengths[:1], target_lengths[-1:] = frames, labels
    return Batch(logits, (targets + blank) % vocabulary, logit_lengths, target_lengths)


def alignments(frames: int, labels: int) -> Iterator[tuple[int, ...]]:
    """Every way to give each label a frame."""
    return itertools.combinations_with_replacement(range(frames), labels)


def path_score(blank: Tensor, label: Tensor, alignment: tuple[int, ...], frames: int) -> Tensor:
    """Log-probability of one path through blank and label (T, U + 1)."""
    score = sum((label[t, u] for u, t in enumerate(alignment)), blank.new_zeros(()))
    for t in range(frames):
        score = score + blank[t, sum(emitted <= t for emitted in alignment)]
    return score


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., Batch]:
    return random_batch


@pytest.fixture(scope="session")
def list_paths() -> Callable[[Tensor, Tensor, int, int], dict[tuple[int, ...], Tensor]]:
    """Alignment -> score of each path of one utterance."""

    def find(blank: Tensor, label: Tensor, frames: int, labels: int) -> dict[tuple[int, ...], Tensor]:
        return {a: path_score(blank, label, a, frames) for a in alignments(frames, labels)}

    return find
