"""The CUDA backend, in Triton (which comes with torch's CUDA builds).

One program walks the frames of one utterance with a row of label positions in registers. Within a frame the recursion
along the labels is a chain of x -> log(exp(x + a) + exp(b)), which an associative scan computes in log2(L) steps, so
no thread ever waits at a barrier for a neighbour. Forward and backward variables come from the same launch.

Correct in Triton's interpreter; its speed on a GPU has not been measured.

Axes: B batch, T frames, S cells of a frame, L label positions (U + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.extras import import_problem
from dualtk.lattice.backends.base import FLOAT64_LOG_ZERO, Cells, Occupation, Recursion
from dualtk.lattice.backends.torch_backend import gather_range, make_arcs

IMPOSSIBLE = -1e200  # below this there was no path


class TritonBackend:
    """Recursion on a GPU, in float64; pruned lattices are spread over all label positions."""

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
        """Posteriors follow from the two variables of a cell and its neighbours by plain arithmetic."""
        from dualtk.lattice.backends import triton_kernels

        arcs = make_arcs(cells, FLOAT64_LOG_ZERO)
        blank, label = (x.clamp(min=FLOAT64_LOG_ZERO) for x in (arcs.blank, arcs.label))
        alpha, beta = triton_kernels.variables(blank, label, cells.logit_lengths, cells.target_lengths)
        log_likelihood = beta[:, 0, 0]
        impossible = log_likelihood < IMPOSSIBLE
        offset = alpha - log_likelihood.view(-1, 1, 1)
        next_frame = torch.cat([beta[:, 1:], torch.full_like(beta[:, :1], FLOAT64_LOG_ZERO)], dim=1)
        next_label = torch.cat([beta[:, :, 1:], torch.full_like(beta[:, :, :1], FLOAT64_LOG_ZERO)], dim=2)
        after_blank = torch.where(arcs.final, torch.zeros_like(beta), next_frame)

        def posterior(arc: Tensor, after: Tensor) -> Tensor:
            value = torch.exp(offset + arc + after).masked_fill(impossible.view(-1, 1, 1), 0.0)
            return gather_range(cells, value).to(cells.blank.dtype)

        occupation = Occupation(posterior(blank, after_blank), posterior(label, next_label))
        log_likelihood = log_likelihood.masked_fill(impossible, float("-inf"))
        return Recursion(log_likelihood.to(cells.blank.dtype), occupation)
