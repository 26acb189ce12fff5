"""The layer whose weight is masked in sparse modes. It reads a mode, like the layers of `dualtk.nn.dual`.

Axes: ... any number of leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.modes import Mode


class MaskedLinear(nn.Module):
    """A linear layer whose weight is masked in sparse modes (supernet); dense wherever no mask has been set.

    On (B, T, D) it is a convolution of one tap as well: every pointwise convolution of the encoders is this layer.

    Masks are buffers here, one per mode name, because a mask put on from outside is lost when activation
    checkpointing computes the layer again. A checkpoint that holds masks brings them along when it is loaded.

    Attributes:
        straight_through: a sparse pass gives its gradient to all weights, as if none were masked (Bengio et al. 2013),
            instead of to those it keeps.
    """

    PREFIX = "mask_"

    def __init__(self, input_dim: int, output_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_dim, input_dim))
        self.bias = nn.Parameter(torch.empty(output_dim)) if bias else None
        self.straight_through = False
        bound = 1.0 / math.sqrt(input_dim)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def mask(self, mode_name: str) -> Tensor | None:
        """The (output, input) bool mask of a mode, True on the weights that are kept; None where it is dense."""
        return self._buffers.get(self.PREFIX + mode_name)

    def set_mask(self, mode_name: str, mask: Tensor | None) -> None:
        """Replace the mask of a mode; None makes the mode dense again. A mask that is there changes in place."""
        if mask is None:
            self._buffers.pop(self.PREFIX + mode_name, None)
            return
        if mask.shape != self.weight.shape or mask.dtype != torch.bool:
            raise ValueError(f"a mask is a bool tensor of shape {tuple(self.weight.shape)}")
        own = self.mask(mode_name)
        if own is None:
            self.register_buffer(self.PREFIX + mode_name, mask.to(self.weight.device))
        else:
            own.copy_(mask)  # in place: processes share the buffers that there are

    def masked_weight(self, mode: Mode) -> Tensor:
        """The (output, input) weight as `mode` sees it."""
        mask = self.mask(mode.name) if mode.sparsity > 0 else None
        if mask is None:
            return self.weight
        masked = self.weight * mask
        return self.weight + (masked - self.weight).detach() if self.straight_through else masked

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """(..., input) -> (..., output)."""
        return F.linear(x, self.masked_weight(mode), self.bias)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        start = prefix + self.PREFIX
        for name, value in state_dict.items():
            if name.startswith(start):
                self.set_mask(name[len(start) :], value)
        super()._load_from_state_dict(state_dict, prefix, *rest)
