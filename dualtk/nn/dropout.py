"""Dropout whose random numbers do not dominate training on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.errors import InputError


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014); off a GPU it draws one random byte per element.

    torch draws one random float per element there, in a single thread, and spends a third of a training step on it.
    Deviation: the probability is rounded to a multiple of 1/256, and the scale is that of the rounded probability.
    """

    LEVELS = 256

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise InputError(f"dropout: a probability in [0, 1), not {probability}")
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        if not self.training or self.probability == 0.0:
            return x
        if x.is_cuda:
            return F.dropout(x, self.probability)
        dropped = min(round(self.probability * self.LEVELS), self.LEVELS - 1)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        levels = words.view(torch.uint8)[: x.numel()].view(x.shape)
        kept = (levels >= dropped).to(x.dtype).mul_(self.LEVELS / (self.LEVELS - dropped))
        return x * kept

    def extra_repr(self) -> str:
        """The probability, for `print(network)`."""
        return f"{self.probability}"
