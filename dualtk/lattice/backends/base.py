"""What the engines offer, each for one job: see `dualtk.lattice.engines`.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range), V vocabulary, N cells of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dualtk.lattice.cell_list import CellList
from dualtk.lattice.inputs import JointInputs
from dualtk.lattice.next_labels import NextLabels

LOG_ZERO = float("-inf")
# For recursions that would make NaN of the difference of two infinities: finite, and far below any path.
FLOAT32_LOG_ZERO, FLOAT64_LOG_ZERO = -1e30, -1e300


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

    def unavailable_reason(self) -> str | None:
        """Return why this backend cannot be used on this machine, or None."""

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
        """Return why tensors of `dtype` on `device_type` cannot be used, or None."""

    def recursion(self, cells: Cells) -> Recursion:
        """Forward and backward recursion (Graves 2012, section 2.4)."""


class Scores(NamedTuple):
    """Log-probability of blank and of the label (LOG_ZERO: there is none) of each cell, and log-sum-exp in float64."""

    blank: Tensor
    label: Tensor
    normaliser: Tensor


class Reduction(Protocol):
    """Reads and writes given logits (B, T, S, V); every score is (B, T, S)."""

    def scores(self, logits: Tensor, labels: NextLabels, blank: int) -> Scores:
        """Scores in at least float32."""

    def gradient(
        self, logits: Tensor, labels: NextLabels, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """Gradient of the logits, given those of the two scores."""


@dataclass(frozen=True)
class JointGradients:
    """Gradients in the shapes of the joint's inputs."""

    encoder: Tensor
    predictor: Tensor
    weight: Tensor | None
    bias: Tensor | None

    @staticmethod
    def zeros(inputs: JointInputs, dtype: torch.dtype, encoder: Tensor | None = None) -> JointGradients:
        """Zeros to add to, in rows (B * T, J) and (B * (U + 1), J); `encoder`: a sum that is there already."""
        return JointGradients(
            torch.zeros_like(inputs.encoder, dtype=dtype).flatten(0, 1) if encoder is None else encoder,
            torch.zeros_like(inputs.predictor, dtype=dtype).flatten(0, 1),
            None if inputs.weight is None else torch.zeros_like(inputs.weight, dtype=dtype),
            None if inputs.bias is None else torch.zeros_like(inputs.bias, dtype=dtype),
        )

    def like(self, inputs: JointInputs) -> JointGradients:
        """The finished sums in the shapes and dtypes of the inputs."""
        return JointGradients(
            self.encoder.view_as(inputs.encoder).to(inputs.encoder.dtype),
            self.predictor.view_as(inputs.predictor).to(inputs.predictor.dtype),
            None if self.weight is None or inputs.weight is None else self.weight.to(inputs.weight.dtype),
            None if self.bias is None or inputs.bias is None else self.bias.to(inputs.bias.dtype),
        )


class JointEngine(Protocol):
    """Computes scores and gradients of the cells of a joint."""

    def forward(self, inputs: JointInputs, cells: CellList, blank: int) -> Scores:
        """Scores (N,) of all cells."""

    def backward(
        self, inputs: JointInputs, cells: CellList, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> JointGradients:
        """Gradients of the inputs, given those of each cell's two scores, (N,) each."""


class KLEngine(Protocol):
    """Computes the divergence of cells and its gradient."""

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """KL (N,) of all cells, in at least float32."""

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """Gradients of the student's inputs, given those of each cell's KL, `weight` (N,)."""
