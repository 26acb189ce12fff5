"""The CPU backend: numba kernels, spread over a few threads.

Axes: B batch, T frames, S cells of a frame.
"""

from __future__ import annotations

import torch

from dualtk.extras import import_problem
from dualtk.lattice.backends.base import Cells, Occupation, Recursion
from dualtk.lattice.backends.threads import map_ranges


class NumbaBackend:
    """Recursion in float64 along anti-diagonals, several utterances at a time; kernels are loaded at the first use."""

    name = "numba"

    def unavailable_reason(self) -> str | None:
        """Numba may be absent."""
        return import_problem("numba", "njit")

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
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
        starts = () if cells.starts is None else (cells.starts.long().numpy(),)
        kernel = recursion_kernels.pruned_recursion if starts else recursion_kernels.full_recursion
        map_ranges(lambda start, stop: kernel(*scores, *starts, *lengths, *found, start, stop), batch)
        log_likelihood, by_blank, by_label = (x.to(cells.blank.dtype) for x in (log_likelihood, by_blank, by_label))
        return Recursion(log_likelihood, Occupation(by_blank, by_label))
