"""The joint in plain torch, for every device and dtype: chunks of cells whose logits are made and forgotten.

Axes: J joiner width, V vocabulary, R rows of a side, N cells of the batch, C cells of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, JointGradients, Scores
from dualtk.lattice.backends.torch_logits import LogSumExp
from dualtk.lattice.cell_list import CellList
from dualtk.lattice.inputs import JointInputs, activate, activation_gradient
from dualtk.lattice.negligible import negligible


@dataclass(frozen=True)
class Chunk:
    """One chunk: hidden (C, J) and logits (C, V) in at least float32, with the cells they belong to."""

    cells: slice
    frame: Tensor
    position: Tensor
    label: Tensor
    hidden: Tensor
    logits: Tensor


def chunks(inputs: JointInputs, cells: CellList, size: int) -> Iterator[Chunk]:
    """Compute the logits of `size` cells at a time."""
    encoder, predictor = inputs.encoder.flatten(0, 1), inputs.predictor.flatten(0, 1)
    for start in range(0, cells.index.numel(), size):
        part = slice(start, start + size)
        frame, position = cells.frame[part], cells.position[part]
        hidden = activate(encoder[frame] + predictor[position], inputs.activation)
        logits = hidden
        if inputs.weight is not None:
            hidden = hidden.to(inputs.weight.dtype)
            logits = torch.nn.functional.linear(hidden, inputs.weight, inputs.bias)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        yield Chunk(part, frame, position, cells.label[part], hidden, logits)


class LogitRows(Protocol):
    """Passes over the vocabulary of the logits (C, V) of a chunk, of which each row has a label (C,)."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> Scores:
        """Scores (C,) of all rows."""

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """(C, V) gradient of the logits, which may be overwritten."""


class TorchRows:
    """In plain torch."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> Scores:
        """See `LogitRows`."""
        sums = LogSumExp.of(logits)
        of_label = sums.log_softmax(logits.gather(1, label.clamp(min=0).unsqueeze(1)).squeeze(1))
        return Scores(sums.log_softmax(logits[:, blank]), of_label.masked_fill(label < 0, LOG_ZERO), sums.total())

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """Each score's own logit, minus the softmax for both."""
        total = for_blank + for_label
        parts = LogSumExp.split(normaliser.unsqueeze(1), logits.dtype)
        grad = parts.log_softmax(logits).exp_().mul_(-total.unsqueeze(1))
        grad[:, blank] += for_blank
        grad.scatter_add_(1, label.clamp(min=0).unsqueeze(1), for_label.unsqueeze(1))
        return grad


@dataclass(frozen=True)
class TorchJoint:
    """Computes `chunk` cells at a time.

    Attributes:
        chunk: number of cells.
        rows: what passes over their vocabulary.
        sparse: whether backward leaves out the cells that cannot change any sum.
    """

    chunk: int
    rows: LogitRows = TorchRows()  # noqa: RUF009  it has no state
    sparse: bool = False

    def forward(self, inputs: JointInputs, cells: CellList, blank: int) -> Scores:
        """Scores of all cells."""
        parts = []
        for chunk in chunks(inputs, cells, self.chunk):
            parts.append(self.rows.scores(chunk.logits, chunk.label, blank))
        if not parts:
            return Scores(*(inputs.encoder.new_empty(0) for _ in range(3)))
        blanks, labels, totals = zip(*parts)
        return Scores(torch.cat(blanks), torch.cat(labels), torch.cat(totals))

    def backward(
        self, inputs: JointInputs, cells: CellList, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> JointGradients:
        """Recompute each chunk and add up its gradients, in at least float32."""
        sums = JointGradients.zeros(inputs, torch.promote_types(inputs.encoder.dtype, torch.float32))
        for_label = for_label.masked_fill(cells.label < 0, 0.0)
        if self.sparse:
            kept = (~negligible(for_blank, for_label)).nonzero().flatten()
            cells = cells.select(kept)
            normaliser, for_blank, for_label = (x[kept] for x in (normaliser, for_blank, for_label))
        for chunk in chunks(inputs, cells, self.chunk):
            scores = (x[chunk.cells] for x in (normaliser, for_blank, for_label))
            logits = chunk.logits.clone() if chunk.logits is chunk.hidden else chunk.logits
            grad = self.rows.gradient(logits, chunk.label, blank, *scores)
            add_gradients(sums, inputs, chunk, grad)
        return sums.like(inputs)


def default_chunk(inputs: JointInputs) -> int:
    """As many cells as suit the device."""
    budget = 1 << (20 if inputs.encoder.device.type == "cpu" else 25)  # logits, or activations, that exist at once
    return max(64, budget // max(inputs.vocabulary, inputs.encoder.shape[2]))


def add_gradients(sums: JointGradients, inputs: JointInputs, chunk: Chunk, grad: Tensor) -> None:
    """Carry the gradient (C, V) of a chunk's logits back to the inputs and add it to `sums`."""
    if inputs.weight is not None:
        low = grad.to(inputs.weight.dtype)
        assert sums.weight is not None
        sums.weight.add_(low.t() @ chunk.hidden)
        if sums.bias is not None:
            sums.bias.add_(grad.sum(0))
        grad = (low @ inputs.weight).to(sums.encoder.dtype)
    grad = activation_gradient(grad, chunk.hidden.to(grad.dtype), inputs.activation)
    add_rows(sums.encoder, chunk.frame, grad)
    add_rows(sums.predictor, chunk.position, grad)


def add_rows(out: Tensor, row: Tensor, value: Tensor) -> None:
    """out[row[c]] += value[c] for out (R, J), row (C,), value (C, J), always in the same order.

    `index_add_` does so on the CPU; on a GPU its additions race, and there the gradient of an embedding is taken, which
    sorts the rows and sums each in parts of fixed size.
    """
    if value.device.type == "cpu":
        out.index_add_(0, row, value)
    else:
        out.add_(sum_rows(row, value, out.shape[0]))


def sum_rows(row: Tensor, value: Tensor, num_rows: int) -> Tensor:
    """(R, J) sums of the rows of value (C, J) that share a `row` (C,)."""
    total: Tensor = torch.ops.aten.embedding_dense_backward(value, row, num_rows, -1, False)
    return total
