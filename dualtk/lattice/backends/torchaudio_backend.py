"""The recursion inside torchaudio's transducer loss: the only file of this package that imports it.

Axes: B batch, T frames, S cells of a frame, L label positions (U + 1).
"""

from __future__ import annotations

import torch

from dualtk.extras import import_problem
from dualtk.lattice.backends.base import FLOAT32_LOG_ZERO, Cells, Occupation, Recursion
from dualtk.lattice.backends.torch_backend import gather_range, spread


class TorchaudioBackend:
    """`torchaudio.functional.rnnt_loss` over two classes, blank and the next label, already normalised.

    Its recursion adds up in float32: posteriors are some 1e-4 off after a hundred frames.
    """

    name = "torchaudio"

    def unavailable_reason(self) -> str | None:
        """Torchaudio is optional here."""
        return import_problem("torchaudio.functional", "rnnt_loss")

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
        """It computes in float32 and would silently drop the digits of float64."""
        if dtype == torch.float64:
            return "computes in float32 only, and float64 was given"
        return None if device_type in ("cpu", "cuda") else f"works on CPU and CUDA, not on {device_type}"

    def recursion(self, cells: Cells) -> Recursion:
        """The gradient of the loss with respect to normalised scores is minus the occupation."""
        from torchaudio.functional import rnnt_loss

        num_frames, num_labels = int(cells.logit_lengths.max()), int(cells.target_lengths.max())
        blank, label = (spread(cells, x.float(), FLOAT32_LOG_ZERO) for x in (cells.blank, cells.label))
        padded = blank.shape
        # The gradient is what is wanted, so tensors are made here that have one in whatever mode the caller is.
        with torch.inference_mode(False), torch.enable_grad():
            scores = torch.stack([blank, label], dim=3)[:, :num_frames, : num_labels + 1].clamp(min=FLOAT32_LOG_ZERO)
            frame = torch.arange(num_frames, device=blank.device).view(1, -1, 1, 1)
            beyond = frame >= cells.logit_lengths.view(-1, 1, 1, 1)
            scores = scores.masked_fill(beyond, 0.0).detach().requires_grad_()
            targets = torch.ones(padded[0], max(num_labels, 1), dtype=torch.int32, device=blank.device)[:, :num_labels]
            lengths = (cells.logit_lengths.int(), cells.target_lengths.int())
            costs = rnnt_loss(
                scores, targets.contiguous(), *lengths, blank=0, reduction="none", fused_log_softmax=False
            )
            (grad,) = torch.autograd.grad(costs.sum(), scores)
        impossible = costs.detach() > -FLOAT32_LOG_ZERO / 1e6
        occupation = grad.neg().masked_fill(impossible.view(-1, 1, 1, 1), 0.0)
        pad = (0, padded[2] - num_labels - 1, 0, padded[1] - num_frames)
        by_blank, by_label = (
            gather_range(cells, torch.nn.functional.pad(occupation[..., k], pad)).to(cells.blank.dtype) for k in (0, 1)
        )
        likelihood = (-costs.detach()).masked_fill(impossible, float("-inf"))
        return Recursion(likelihood.to(cells.blank.dtype), Occupation(by_blank, by_label))
