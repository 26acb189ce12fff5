"""The KL over the whole vocabulary on the CPU, in float32: the chunks of two joints side by side in a thread's cache.

Axes: N cells of the batch, C cells of a chunk, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.lattice.backends import kernels
from dualtk.lattice.backends.base import JointGradients
from dualtk.lattice.backends.numba_joint import Workspace, sum_over_threads
from dualtk.lattice.backends.threads import map_ranges
from dualtk.lattice.cell_list import CellList
from dualtk.lattice.inputs import JointInputs


@dataclass(frozen=True)
class NumbaKL:
    """The compiled form of `TorchKL`, for every class at once (no top-k).

    Args:
        temperature: divides the logits of both.
        chunk: cells whose logits exist at the same time in a thread.
    """

    temperature: float
    chunk: int

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """See `KLEngine`."""
        kl = torch.empty(cells.index.numel())
        out = kl.numpy()

        def run(first: int, last: int) -> None:
            of_student, of_teacher = (Workspace(x, cells, min(self.chunk, last - first)) for x in (student, teacher))
            with torch.no_grad():
                for start in range(first, last, self.chunk):
                    stop = min(start + self.chunk, last)
                    logits = [x.logits(x.hidden(start, stop)).numpy() for x in (of_student, of_teacher)]
                    kernels.divergence_rows(*logits, 1.0 / self.temperature, out[start:stop])

        if len(out):
            map_ranges(run, len(out))
        return kl

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """See `KLEngine`."""
        kept = (weight != 0.0).nonzero().flatten()
        cells, weights = cells.select(kept), (weight[kept] / self.temperature).numpy()

        def run(first: int, last: int, sums: JointGradients) -> None:
            of_student, of_teacher = (Workspace(x, cells, min(self.chunk, last - first)) for x in (student, teacher))
            for start in range(first, last, self.chunk):
                stop = min(start + self.chunk, last)
                hidden = of_student.hidden(start, stop)
                logits, goal = of_student.logits(hidden), of_teacher.logits(of_teacher.hidden(start, stop))
                grad = logits if student.weight is not None else logits.clone()  # there the logits are the hidden
                kernels.divergence_gradient_rows(
                    grad.numpy(), goal.numpy(), 1.0 / self.temperature, weights[start:stop]
                )
                of_student.add_gradients(sums, hidden, grad, start, stop)

        return sum_over_threads(student, cells, run)
