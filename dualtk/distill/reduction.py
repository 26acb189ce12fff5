"""From a distance of each frame, cell or head to the scalar that a term gives.

The papers print sums over all frames, layers and cells of the data, beside a transducer loss that is a sum over
utterances. "sum" has the mean over the utterances of a batch that the loss has here too, so the papers' weights keep
their meaning. "mean" is over all that was compared in the batch, and does not grow with an utterance.

Axes: B batch.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Reduction = Literal["mean", "sum"]


def reduce_valid(values: Tensor, valid: Tensor, reduction: Reduction) -> Tensor:
    """Values (B, ...) where `valid` (broadcast to their shape) -> scalar."""
    valid = valid.expand_as(values)
    total = values.masked_fill(~valid, 0.0).sum()
    return total / (values.shape[0] if reduction == "sum" else valid.sum().clamp(min=1))
