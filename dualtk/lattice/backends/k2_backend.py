"""The recursion of k2 (Kuang et al. 2022), where k2 is installed: the only file that imports it.

Axes: B batch, T frames, S cells of a frame, L label positions (U + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.extras import import_problem
from dualtk.lattice.backends.base import LOG_ZERO, Cells, Occupation, Recursion
from dualtk.lattice.backends.torch_backend import gather_range, make_arcs


class K2Backend:
    """`k2.mutual_information_recursion`, in float64 so that long utterances keep their digits."""

    name = "k2"

    def unavailable_reason(self) -> str | None:
        """K2 is optional; tools/install_k2.sh makes an environment that has it."""
        return import_problem("k2", "mutual_information_recursion")

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
        """K2 runs on the CPU and, when built for it, on CUDA."""
        if device_type == "cuda":
            import k2

            return None if k2.with_cuda else "this k2 is built for the CPU only"
        return None if device_type == "cpu" else f"works on CPU and CUDA, not on {device_type}"

    def recursion(self, cells: Cells) -> Recursion:
        """K2 walks (label, time) matrices and wants the label arcs of a time after the last one, which never happen."""
        import k2

        arcs = make_arcs(cells, LOG_ZERO)
        batch, num_frames, num_positions = arcs.blank.shape
        label = torch.cat([arcs.label, arcs.label.new_full((batch, 1, num_positions), LOG_ZERO)], dim=1)
        labels = max(num_positions - 1, 1)  # k2 wants at least one; it is never taken
        px = label[:, :, :labels].transpose(1, 2).contiguous()  # (B, T + 1, L) -> (B, L - 1, T + 1)
        py = arcs.blank.transpose(1, 2).contiguous()  # (B, T, L) -> (B, L, T)
        if num_positions == 1:
            py = torch.cat([py, torch.full_like(py, LOG_ZERO)], dim=1)
        boundary = torch.zeros(batch, 4, dtype=torch.int64, device=label.device)
        boundary[:, 2], boundary[:, 3] = cells.target_lengths, cells.logit_lengths
        score, (by_label, by_blank) = k2.mutual_information_recursion(px, py, boundary, return_grad=True)
        impossible = torch.isinf(score).view(-1, 1, 1)

        def occupation(grad: Tensor) -> Tensor:
            value = grad.transpose(1, 2)[:, :num_frames, :num_positions]  # (B, L, T) -> (B, T, L)
            value = torch.nn.functional.pad(value, (0, num_positions - value.shape[2]))
            return gather_range(cells, value.masked_fill(impossible, 0.0)).to(cells.blank.dtype)

        return Recursion(score.to(cells.blank.dtype), Occupation(occupation(by_blank), occupation(by_label)))
