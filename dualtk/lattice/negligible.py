"""Which cells cannot change a gradient any more.

Occupation falls off so steeply that most cells of a trained network's lattice are below 1e-30. They are left out of the
sums over the vocabulary: all together they are smaller than the rounding of the others, and as denormal numbers they
would make a matrix product ten times slower.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 1e-15  # of the largest gradient: a million such cells change no digit of float32


def negligible(*grads: Tensor) -> Tensor:
    """Bool, in the shape of the given gradients: those that are all below SHARE of the largest one.

    NaN is never negligible, and beside an infinite gradient nothing is.
    """
    size = torch.stack([grad.abs() for grad in grads]).amax(0)
    if size.numel() == 0:
        return torch.zeros_like(size, dtype=torch.bool)
    limit = SHARE * size.max()
    return (size <= limit) & torch.isfinite(limit)
