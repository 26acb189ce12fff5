"""What every backend offers: the recursion over a lattice, and sometimes the exact loss straight from logits.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range), V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """The two numbers per cell, as the recursion reads them; nothing in it needs a gradient.

    Attributes:
        blank: (B, T, S) log-probability of blank, i.e. of moving on to the next frame.
        label: (B, T, S) log-probability of the next label; never read where no label is left.
        logit_lengths: (B,) int64, number of frames.
        target_lengths: (B,) int64, number of labels.
        starts: (B, T) int64, label position of a frame's first cell; None: all zero.
    """

    blank: Tensor
    label: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor
    starts: Tensor | None


class Occupation(NamedTuple):
    """Posterior probability that a path takes the blank, or the label, of each cell: both (B, T, S)."""

    blank: Tensor
    label: Tensor


@dataclass(frozen=True)
class Recursion:
    """Log-likelihood (B,) of each utterance and the occupation, which is its gradient with respect to the cells."""

    log_likelihood: Tensor
    occupation: Occupation


class Backend(Protocol):
    """One way to run the recursion; results have the dtype and device of the cells."""

    name: str

    def unusable(self) -> str | None:
        """Return why this backend cannot be used on this machine, or None."""

    def unsuitable(self, device_type: str, dtype: torch.dtype) -> str | None:
        """Return why tensors of `dtype` on `device_type` cannot be used, or None."""

    def recursion(self, cells: Cells) -> Recursion:
        """Forward and backward recursion (Graves 2012, section 2.4)."""
