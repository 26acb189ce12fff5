"""The joint on the CPU: each thread takes a share of the cells through all steps, chunk by chunk, in its own cache.

Matrix products are torch's, with one thread each; everything between them is compiled.

Axes: B batch, T frames, U labels, J joiner width, V vocabulary, N cells of the batch, C cells of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dualtk.lattice.backends import kernels
from dualtk.lattice.backends.base import JointGradients, Scores
from dualtk.lattice.backends.threads import empty, map_ranges
from dualtk.lattice.cell_list import CellList
from dualtk.lattice.inputs import JointInputs
from dualtk.lattice.negligible import negligible


class Workspace:
    """The buffers of one thread, used again for every chunk: hidden (C, J), its gradient, and logits (C, V).

    The gradient of the logits takes their place, which spares the cache.
    """

    def __init__(self, inputs: JointInputs, cells: CellList, chunk: int) -> None:
        self.encoder = inputs.encoder.detach().flatten(0, 1).contiguous()
        self.predictor = inputs.predictor.detach().flatten(0, 1).contiguous()
        self.weight = None if inputs.weight is None else inputs.weight.detach()
        self.bias = None if inputs.bias is None else inputs.bias.detach()
        self.has_layer = inputs.has_layer
        self.activation = kernels.ACTIVATIONS[inputs.activation]
        self.cells = cells
        width = self.encoder.shape[1]
        self._hidden = empty((chunk, width))
        self._grad_hidden = empty((chunk, width))
        self._logits = self._hidden if self.weight is None else empty((chunk, inputs.vocabulary))

    def hidden(self, start: int, stop: int) -> Tensor:
        """Activations of cells start..stop - 1."""
        out = self._hidden[: stop - start]
        kernels.hidden_rows(
            self.encoder.numpy(),
            self.predictor.numpy(),
            self.cells.frame[start:stop].numpy(),
            self.cells.position[start:stop].numpy(),
            self.activation,
            out.numpy(),
        )
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the same cells; overwrites those of the chunk before."""
        if self.weight is None:
            return hidden
        out = self._logits[: hidden.shape[0]]
        if not self.has_layer:
            return torch.mul(hidden, self.weight, out=out)
        if self.bias is None:
            return torch.mm(hidden, self.weight.t(), out=out)
        return torch.addmm(self.bias, hidden, self.weight.t(), out=out)

    def grad_logits(self, logits: Tensor, start: int, stop: int, blank: int, scores: Sequence[kernels.Array]) -> Tensor:
        """Gradient of the same logits, given the normalisers of all cells and the gradients of their two scores."""
        out = self._grad_hidden[: stop - start] if self.weight is None else logits
        label = self.cells.label[start:stop].numpy()
        given = (x[start:stop] for x in scores)
        kernels.gradient_rows(logits.numpy(), label, blank, *given, out.numpy(), 0, stop - start)
        return out

    def add_gradients(self, sums: JointGradients, hidden: Tensor, grad: Tensor, start: int, stop: int) -> None:
        """Carry the gradient (C, V) of the logits of cells start..stop - 1 back to the inputs and add it to `sums`."""
        grad_hidden = grad
        if self.weight is not None:
            assert sums.weight is not None
            grad_hidden = self._grad_hidden[: stop - start]
            if self.has_layer:
                sums.weight.addmm_(grad.t(), hidden)
                torch.mm(grad, self.weight, out=grad_hidden)
            else:
                sums.weight.add_((grad * hidden).sum())
                torch.mul(grad, self.weight, out=grad_hidden)
        if sums.bias is not None:
            sums.bias.add_(grad.sum(0))
        kernels.scatter_hidden(
            grad_hidden.numpy(),
            hidden.numpy(),
            self.cells.frame[start:stop].numpy(),
            self.cells.position[start:stop].numpy(),
            self.activation,
            sums.encoder.numpy(),
            sums.predictor.numpy(),
        )


@dataclass(frozen=True)
class NumbaJoint:
    """The compiled form of `TorchJoint`, for float32."""

    chunk: int

    def forward(self, inputs: JointInputs, cells: CellList, blank: int) -> Scores:
        """Scores of all cells."""
        count = cells.index.numel()
        scores = Scores(torch.empty(count), torch.empty(count), torch.empty(count, dtype=torch.float64))
        normaliser, blank_score, label_score = (x.numpy() for x in (scores.normaliser, scores.blank, scores.label))
        label = cells.label.numpy()

        def run(first: int, last: int) -> None:
            work = Workspace(inputs, cells, min(self.chunk, last - first))
            with torch.no_grad():
                for start in range(first, last, self.chunk):
                    part = slice(start, min(start + self.chunk, last))
                    logits = work.logits(work.hidden(part.start, part.stop)).numpy()
                    out = (normaliser[part], blank_score[part], label_score[part])
                    kernels.score_rows(logits, label[part], blank, *out, 0, logits.shape[0])

        if count:
            map_ranges(run, count)
        return scores

    def backward(
        self, inputs: JointInputs, cells: CellList, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> JointGradients:
        """Recompute each chunk that matters and add up its gradients.

        Each thread sums its own; the sums are added in order, so that equal inputs give equal gradients.
        """
        kept = (~negligible(for_blank, for_label)).nonzero().flatten()
        cells = cells.select(kept)
        scores = [x[kept].numpy() for x in (normaliser, for_blank, for_label)]

        def run(first: int, last: int, sums: JointGradients) -> None:
            work = Workspace(inputs, cells, min(self.chunk, last - first))
            for start in range(first, last, self.chunk):
                stop = min(start + self.chunk, last)
                hidden = work.hidden(start, stop)
                grad = work.grad_logits(work.logits(hidden), start, stop, blank, scores)
                work.add_gradients(sums, hidden, grad, start, stop)

        return sum_over_threads(inputs, cells, run)


def default_chunk(inputs: JointInputs) -> int:
    """Cells whose logits, or activations, fill a megabyte, a share of one core's cache.

    Fewer than 256 starve matrix products: each lays out the weight anew.
    """
    return max(256, (1 << 18) // max(inputs.vocabulary, inputs.encoder.shape[2]))


def sum_over_threads(
    inputs: JointInputs, cells: CellList, run: Callable[[int, int, JointGradients], None]
) -> JointGradients:
    """Let `run(first, last, sums)` add the gradients of a share of the cells to its own sums, and add these in order.

    A share begins and ends between frames, so that the gradient of the encoder side needs no second copy.
    """
    frames = cells.frame.numpy()
    total = JointGradients.zeros(inputs, torch.float32)

    def share(first: int, last: int) -> JointGradients:
        first, last = (int(np.searchsorted(frames, frames[x])) if x < len(frames) else x for x in (first, last))
        sums = JointGradients.zeros(inputs, torch.float32, total.encoder)
        if first < last:
            with torch.no_grad():
                run(first, last, sums)
        return sums

    if len(frames):
        for sums in map_ranges(share, len(frames), parts=torch.get_num_threads()):
            total.predictor.add_(sums.predictor)
            if total.weight is not None and sums.weight is not None:
                total.weight.add_(sums.weight)
            if total.bias is not None and sums.bias is not None:
                total.bias.add_(sums.bias)
    return total.like(inputs)
