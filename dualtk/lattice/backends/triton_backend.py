"""The CUDA backend, in Triton (which comes with torch's CUDA builds)."""

from __future__ import annotations

import torch

from dualtk.lattice.backends.base import Cells, Recursion
from dualtk.lattice.backends.optional import import_problem


class TritonBackend:
    """Recursion on a GPU; sums are kept in float64, and a pruned lattice is walked as it is."""

    name = "triton"

    def unavailable_reason(self) -> str | None:
        """Needs Triton and a GPU."""
        if not torch.cuda.is_available():
            return "there is no CUDA device"
        return import_problem("triton", "jit")

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
        """Tensors must be on the GPU."""
        return None if device_type == "cuda" else f"works on CUDA only, not on {device_type}"

    def recursion(self, cells: Cells) -> Recursion:
        """See `Backend`."""
        from dualtk.lattice.backends import triton_kernels

        return triton_kernels.recursion(cells)
