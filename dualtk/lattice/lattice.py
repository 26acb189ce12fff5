"""A transducer is two numbers per lattice cell: the log-probability of blank and of the next label.

The loss, occupation posteriors, best path and emission times are functions of these two tensors alone; nothing here
sees the vocabulary. See Graves, "Sequence transduction with recurrent neural networks", 2012.

Axes: B batch, T frames, U labels, S cells of a frame: U + 1, or the prune range (Kuang et al. 2022).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dualtk.lattice.backends.base import Backend, Cells, Occupation
from dualtk.lattice.check import check_shape
from dualtk.lattice.engines import choose
from dualtk.lattice.gradients import entry_point, first_derivative, without_autocast
from dualtk.lattice.viterbi import best_path, sum_over_frames

log = logging.getLogger(__name__)


class ScoredLattice(NamedTuple):
    """The reduced loss and the occupation posteriors that come out of the same recursion."""

    loss: Tensor
    occupation: Occupation


@dataclass(frozen=True)
class Lattice:
    """Per-cell log-probabilities of a batch of utterances.

    Attributes:
        blank: (B, T, S) log-probability of blank; -inf in cells beyond an utterance.
        label: (B, T, S) log-probability of the next label; -inf where no label is left.
        logit_lengths: (B,) int64, number of frames of each utterance, at least 1.
        target_lengths: (B,) int64, number of labels of each utterance.
        ranges: (B, T, S) int64 label position of each cell of a pruned lattice; None: position s is cell s.
        num_labels: U of the padded targets; None: that of a full lattice's cells, of a pruned one's longest utterance.
    """

    blank: Tensor
    label: Tensor
    logit_lengths: Tensor
    target_lengths: Tensor
    ranges: Tensor | None = None
    num_labels: int | None = None

    def __post_init__(self) -> None:
        check_shape("blank", self.blank, None, None, None)
        check_shape("label", self.label, *self.blank.shape)
        for name in ("logit_lengths", "target_lengths"):
            check_shape(name, getattr(self, name), self.blank.shape[0])
        if self.ranges is not None:
            check_shape("ranges", self.ranges, *self.blank.shape)

    def positions(self) -> Tensor:
        """Label position of each cell: (B, T, S), or (1, 1, S) for a full lattice."""
        if self.ranges is not None:
            return self.ranges
        return torch.arange(self.blank.shape[2], device=self.blank.device).view(1, 1, -1)

    def mask(self) -> Tensor:
        """(B, T, S) bool: the cells that belong to their utterance."""
        frame = torch.arange(self.blank.shape[1], device=self.blank.device).view(1, -1, 1)
        inside = frame < self.logit_lengths.view(-1, 1, 1)
        return inside & (self.positions() <= self.target_lengths.view(-1, 1, 1))

    def cells(self) -> Cells:
        """The same lattice without gradients, as a backend reads it."""
        starts = None if self.ranges is None else self.ranges[:, :, 0].long().contiguous()
        return Cells(
            self.blank.detach().contiguous(),
            self.label.detach().contiguous(),
            self.logit_lengths.long().contiguous(),
            self.target_lengths.long().contiguous(),
            starts,
        )

    def delayed(self, penalty: float) -> Lattice:
        """Reward labels before the middle of the utterance and punish those after it.

        Adds `penalty * ((T - 1) / 2 - t)` to each label (Kang et al., "Delay-penalized transducer for low-latency
        streaming ASR", 2022).
        """
        if penalty == 0.0:
            return self
        frame = torch.arange(self.blank.shape[1], device=self.blank.device).view(1, -1, 1)
        middle = (self.logit_lengths - 1).view(-1, 1, 1).to(self.label.dtype) / 2
        return replace(self, label=self.label + penalty * (middle - frame))

    def score(
        self,
        reduction: str = "mean",
        *,
        fastemit_lambda: float = 0.0,
        delay_penalty: float = 0.0,
        backend: str = "auto",
    ) -> ScoredLattice:
        """The loss together with the occupation; see `loss` for the arguments."""
        lattice = self.delayed(delay_penalty)
        cells = lattice.cells()
        chosen = choose(backend, cells.blank.device.type, cells.blank.dtype).recursion_engine()
        if self.blank.shape[0] == 0:
            costs = lattice.blank.sum((1, 2))
            return ScoredLattice(reduce(costs, reduction), Occupation(cells.blank, cells.label))
        costs, blank, label = _recursion(lattice.blank, lattice.label, cells, chosen, fastemit_lambda)
        report_not_finite(costs)
        return ScoredLattice(reduce(costs, reduction), Occupation(blank, label))

    def loss(
        self,
        reduction: str = "mean",
        *,
        fastemit_lambda: float = 0.0,
        delay_penalty: float = 0.0,
        backend: str = "auto",
    ) -> Tensor:
        """Negative log-likelihood of the targets, summed over all paths.

        Args:
            reduction: "none" gives (B,), "sum" their sum, "mean" their mean over the batch (0 for an empty batch).
            fastemit_lambda: weight of FastEmit (Yu et al., "FastEmit", 2021): gradients through label arcs are
                multiplied by 1 + lambda. As in the paper this shapes gradients only; the value stays -log P.
            delay_penalty: see `delayed`; it changes both value and gradient.
            backend: a name from `list_backends()`, or "auto".
        """
        scored = self.score(reduction, fastemit_lambda=fastemit_lambda, delay_penalty=delay_penalty, backend=backend)
        return scored.loss

    def occupation(self, backend: str = "auto") -> Occupation:
        """Posterior of each arc: (B, T, S) for blank and for label; zero outside the utterance."""
        with torch.no_grad():
            return self.score("none", backend=backend).occupation

    def best_path(self) -> Tensor:
        """(B, U) int64 frame at which the most probable path emits each label; -1 beyond the targets."""
        return self._padded(best_path(self.cells()))

    def expected_emission(self, backend: str = "auto") -> Tensor:
        """(B, U) posterior mean of the frame that emits each label; -1 beyond the targets. Carries no gradient."""
        cells = self.cells()
        return self._padded(sum_over_frames(cells, self.occupation(backend).label))

    def _padded(self, of_labels: Tensor) -> Tensor:
        """Give each utterance of (B, L) a place for every label of the padded targets: (B, U)."""
        missing = 0 if self.num_labels is None else self.num_labels - of_labels.shape[1]
        return torch.nn.functional.pad(of_labels, (0, missing), value=-1) if missing else of_labels


class _Recursion(torch.autograd.Function):
    """Costs (B,) of a lattice; the gradient is minus the occupation, which the backend gives."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, blank: Tensor, label: Tensor, cells: Cells, backend: Backend, fastemit: float) -> Any:
        recursion = backend.recursion(cells)
        occupation = recursion.occupation
        ctx.fastemit = fastemit
        ctx.save_for_backward(*occupation)
        ctx.mark_non_differentiable(*occupation)
        return (-recursion.log_likelihood, *occupation)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad_costs: Tensor, *_: Tensor) -> Any:
        blank, label = ctx.saved_tensors
        scale = -grad_costs.view(-1, 1, 1)
        return scale * blank, (1.0 + ctx.fastemit) * scale * label, None, None, None


_recursion = entry_point(_Recursion)


def reduce(costs: Tensor, reduction: str) -> Tensor:
    """Reduce costs (B,) by "none", "sum" or "mean"."""
    if reduction == "none":
        return costs
    if reduction == "sum":
        return costs.sum()
    if reduction == "mean":
        return costs.sum() / max(costs.shape[0], 1)
    raise ValueError(f'reduction must be "none", "sum" or "mean", not {reduction!r}')


def report_not_finite(costs: Tensor) -> None:
    """Log which utterances have a loss that is not a number, or no path at all; their gradient reaches no other.

    On a GPU this waits for the device, as the checks of the targets do before it.
    """
    for index, cost in enumerate(costs.tolist()):
        if not math.isfinite(cost):
            log.warning("the loss of utterance %d of the batch is %s", index, cost)
