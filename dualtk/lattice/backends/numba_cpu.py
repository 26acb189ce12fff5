"""The CPU backend: numba kernels, spread over a few threads.

Axes: B batch, T frames, S cells of a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.lattice.backends.base import Cells, Occupation, Recursion
from dualtk.lattice.backends.optional import import_problem
from dualtk.lattice.backends.threads import map_ranges


class NumbaBackend:
    """Recursion in float64 along anti-diagonals, several utterances at a time; kernels are loaded at the first use."""

    name = "numba"

    def unusable(self) -> str | None:
        """Numba may be absent."""
        return import_problem("numba", "njit")

    def unsuitable(self, device_type: str, dtype: torch.dtype) -> str | None:
        """Tensors must be on the CPU."""
        return None if device_type == "cpu" else f"works on the CPU only, not on {device_type}"

    def recursion(self, cells: Cells) -> Recursion:
        """Results in the dtype of the cells."""
        from dualtk.lattice.backends import recursion_kernels

        dtype = torch.promote_types(cells.blank.dtype, torch.float32)
        blank, label = cells.blank.to(dtype), cells.label.to(dtype)
        batch = blank.shape[0]
        log_likelihood = blank.new_empty(batch)
        by_blank, by_label = torch.zeros_like(blank), torch.zeros_like(blank)
        found = (log_likelihood.numpy(), by_blank.numpy(), by_label.numpy())
        lengths = (cells.logit_lengths.long().numpy(), cells.target_lengths.long().numpy())
        scores = (blank.numpy(), label.numpy())
        if cells.starts is None:

            def run(start: int, stop: int) -> None:
                recursion_kernels.full_recursion(*scores, *lengths, *found, start, stop)
        else:
            starts = cells.starts.long().numpy()

            def run(start: int, stop: int) -> None:
                recursion_kernels.pruned_recursion(*scores, starts, *lengths, *found, start, stop)

        map_ranges(run, batch)
        return cast(Recursion(log_likelihood, Occupation(by_blank, by_label)), cells.blank.dtype)


def cast(recursion: Recursion, dtype: torch.dtype) -> Recursion:
    """Give results the dtype of the cells they belong to."""

    def to(value: Tensor) -> Tensor:
        return value.to(dtype)

    occupation = Occupation(to(recursion.occupation.blank), to(recursion.occupation.label))
    return Recursion(to(recursion.log_likelihood), occupation)
