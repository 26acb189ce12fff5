"""The KL over the whole vocabulary on the CPU, in float32: the chunks of two joints side by side in a thread's cache.

Axes: N cells of the batch, C cells of a chunk, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dualtk.lattice.backends import kernels
from dualtk.lattice.backends.numba_joint import Workspace, sum_over_threads
from dualtk.lattice.backends.threads import map_ranges
from dualtk.lattice.cell_list import CellList
from dualtk.lattice.joint_engine import JointGradients

if TYPE_CHECKING:
    from dualtk.lattice.joint import JointInputs


@dataclass(frozen=True)
class NumbaKL:
    """The compiled form of `joint_kl.TorchKL`, for every class at once (no top-k).

    Args:
        temperature: divides the logits of both.
        chunk: cells whose logits exist at the same time in a thread.
    """

    temperature: float
    chunk: int

    def forward(self, student: JointInputs, teacher: JointInputs, cells: CellList) -> Tensor:
        """See `joint_kl.KLEngine`."""
        kl = torch.empty(cells.index.numel())
        out = kl.numpy()

        def run(first: int, last: int) -> None:
            ours, theirs = (Workspace(x, cells, min(self.chunk, last - first)) for x in (student, teacher))
            with torch.no_grad():
                for start in range(first, last, self.chunk):
                    stop = min(start + self.chunk, last)
                    logits = [x.logits(x.hidden(start, stop)).numpy() for x in (ours, theirs)]
                    kernels.divergence_rows(*logits, 1.0 / self.temperature, out[start:stop])

        if len(out):
            map_ranges(run, len(out))
        return kl

    def backward(self, student: JointInputs, teacher: JointInputs, cells: CellList, weight: Tensor) -> JointGradients:
        """See `joint_kl.KLEngine`."""
        kept = (weight != 0.0).nonzero().flatten()
        cells, weights = cells.select(kept), (weight[kept] / self.temperature).numpy()

        def run(first: int, last: int, sums: JointGradients) -> None:
            ours, theirs = (Workspace(x, cells, min(self.chunk, last - first)) for x in (student, teacher))
            for start in range(first, last, self.chunk):
                stop = min(start + self.chunk, last)
                hidden = ours.hidden(start, stop)
                logits, goal = ours.logits(hidden), theirs.logits(theirs.hidden(start, stop))
                grad = logits if student.weight is not None else logits.clone()  # there the logits are the hidden
                kernels.divergence_gradient_rows(
                    grad.numpy(), goal.numpy(), 1.0 / self.temperature, weights[start:stop]
                )
                ours.add_gradients(sums, hidden, grad, start, stop)

        return sum_over_threads(student, cells, run)
