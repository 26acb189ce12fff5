"""What the benchmark of the transducer losses measures: random batches and passes over them.

Axes: B batch, T frames, U labels, J joiner width, V vocabulary, S prune range.
"""

from __future__ import annotations

import torch
from measure import Work

from dualtk.lattice import (
    Lattice,
    ScoredLattice,
    joint_lattice,
    prune_ranges,
    prune_ranges_shared,
    rnnt_loss_pruned,
    rnnt_loss_simple,
)


class Batch:
    """Random inputs of full length; the losses alone are measured, so nothing here is a model."""

    def __init__(self, size: tuple[int, int, int, int], width: int = 512, device: str = "cpu") -> None:
        num, frames, labels, vocabulary = size
        torch.manual_seed(0)
        self.targets = torch.randint(1, vocabulary, (num, labels), device=device)
        self.lengths = (torch.full((num,), frames, device=device), torch.full((num,), labels, device=device))
        self.size, self.width, self.device = size, width, device
        self.weight = (torch.randn(vocabulary, width, device=device) / width**0.5).requires_grad_()
        self.bias = torch.zeros(vocabulary, device=device, requires_grad=True)

    def joint(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder (B, T, J) and predictor (B, U + 1, J) sides."""
        num, frames, labels, _ = self.size
        shapes = ((num, frames, self.width), (num, labels + 1, self.width))
        encoder, predictor = (torch.randn(shape, device=self.device) for shape in shapes)
        return encoder.requires_grad_(), predictor.requires_grad_()

    def simple(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Am (B, T, V) and lm (B, U + 1, V)."""
        num, frames, labels, vocabulary = self.size
        shapes = ((num, frames, vocabulary), (num, labels + 1, vocabulary))
        am, lm = (torch.randn(shape, device=self.device) for shape in shapes)
        return am.requires_grad_(), lm.requires_grad_()

    def boundary(self) -> torch.Tensor:
        """The lengths as k2 reads them: (B, 4)."""
        nothing = torch.zeros_like(self.lengths[0])
        return torch.stack([nothing, nothing, self.lengths[1], self.lengths[0]], dim=1)

    def logits(self) -> torch.Tensor:
        """(B, T, U + 1, V)."""
        num, frames, labels, vocabulary = self.size
        return torch.randn(num, frames, labels + 1, vocabulary, device=self.device).requires_grad_()


class Pruned:
    """One pass of the pruned loss: simple loss, ranges, joiner, loss on the ranges, and all gradients."""

    def __init__(self, batch: Batch, am: torch.Tensor, lm: torch.Tensor, *joint: torch.Tensor) -> None:
        self.batch, self.am, self.lm = batch, am, lm
        self.joint = (*joint, batch.weight, batch.bias)
        self.leaves = (am, lm, *self.joint)

    @staticmethod
    def random(batch: Batch) -> Pruned:
        """With inputs of its own."""
        return Pruned(batch, *batch.simple(), *batch.joint())

    def _ranges(self, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.batch
        found = rnnt_loss_simple(
            self.am, self.lm, batch.targets, *batch.lengths, lm_scale=0.25, return_occupation=True, backend=backend
        )
        return found.loss, prune_ranges(found.occupation, *batch.lengths, 5)

    def dualtk(self, backend: str) -> Work:
        """By dualtk, on one of its backends."""

        def work() -> None:
            simple, ranges = self._ranges(backend)
            args = (self.batch.targets, *self.batch.lengths)
            lattice = joint_lattice(*self.joint, *args, ranges=ranges, backend=backend)
            torch.autograd.grad(0.5 * simple + lattice.loss(backend=backend), self.leaves)

        return work

    def materialised(self) -> None:
        """In plain torch, with the logits of the ranges held."""
        simple, ranges = self._ranges("torch")
        encoder, predictor, *layer = self.joint
        rows = torch.arange(ranges.shape[0], device=ranges.device).view(-1, 1, 1)
        logits = torch.nn.functional.linear(torch.tanh(encoder.unsqueeze(2) + predictor[rows, ranges]), *layer)
        loss = rnnt_loss_pruned(logits, self.batch.targets, ranges, *self.batch.lengths, backend="torch")
        torch.autograd.grad(0.5 * simple + loss, self.leaves)

    def k2(self) -> None:
        """By k2, on its device."""
        import k2

        boundary = self.batch.boundary()
        args = (self.batch.targets, 0, 0.25, 0.0, boundary)
        simple, grads = k2.rnnt_loss_smoothed(self.lm, self.am, *args, return_grad=True)
        ranges = k2.get_rnnt_prune_ranges(*grads, boundary, 5)
        encoder, predictor, *layer = self.joint
        left, right = k2.do_rnnt_pruning(encoder, predictor, ranges)
        logits = torch.nn.functional.linear(torch.tanh(left + right), *layer)
        loss = 0.5 * simple + k2.rnnt_loss_pruned(logits, self.batch.targets, ranges, 0, boundary)
        torch.autograd.grad(loss, self.leaves)


def random_lattice(batch: Batch) -> Lattice:
    """Scores of a full lattice; its two tensors are leaves."""
    num, frames, labels, _ = batch.size
    scores = torch.randn(num, frames, labels + 1, 3, device=batch.device).log_softmax(3)
    blank, label = (scores[..., k].contiguous().requires_grad_() for k in range(2))
    return Lattice(blank, label, *batch.lengths)


def recursion(lattice: Lattice, backend: str) -> Work:
    """The loss of a lattice and its gradient."""
    return lambda: torch.autograd.grad(lattice.loss("sum", backend=backend), (lattice.blank, lattice.label))


class Dual:
    """Two passes over one batch, pruned to S = 5; like a dual-mode network's, they share the predictor's sides."""

    def __init__(self) -> None:
        self.batch = Batch((16, 400, 60, 500))
        self.am, self.lm = zip(*(self.batch.simple() for _ in range(2)))
        self.encoder, self.predictor = zip(*(self.batch.joint() for _ in range(2)))
        self.layer = (self.batch.weight, self.batch.bias)
        self.joint = (*self.encoder, self.predictor[0], *self.layer)

    def occupation(self, index: int) -> ScoredLattice:
        """Simple loss of one pass."""
        am, lm = self.am[index], self.lm[0]
        args = (self.batch.targets, *self.batch.lengths)
        return rnnt_loss_simple(am, lm, *args, lm_scale=0.25, return_occupation=True)

    def ranges(self, first: ScoredLattice, second: ScoredLattice) -> torch.Tensor:
        """Ranges for both passes."""
        return prune_ranges_shared(first.occupation, second.occupation, *self.batch.lengths, 5)

    def lattice(self, index: int, ranges: torch.Tensor) -> Lattice:
        """Lattice of one pass."""
        args = (*self.layer, self.batch.targets, *self.batch.lengths)
        return joint_lattice(self.encoder[index], self.predictor[0], *args, ranges=ranges)
