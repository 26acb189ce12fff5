"""What every network does to its features before an encoder sees them.

Axes: B batch, T frames, F features.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dualtk.nn.masks import padding_mask


def normalize(feats: Tensor, lengths: Tensor, mean: Tensor, istd: Tensor) -> Tensor:
    """Raw features to zero mean and unit variance; frames beyond each length become zero.

    Args:
        feats: (B, T, F).
        lengths: (B,) frames of each utterance.
        mean, istd: (F,) global mean and inverse standard deviation.
    """
    valid = padding_mask(lengths, feats.size(1)).unsqueeze(-1)
    return ((feats - mean) * istd).masked_fill(~valid, 0.0)


def run_ahead(feats: Tensor, num_frames: int) -> Tensor:
    """(B, T, F) -> (B, T, F): the input runs ahead of the output by `num_frames`, zeros follow its end."""
    if not num_frames:
        return feats
    return functional.pad(feats[:, num_frames:], (0, 0, 0, min(num_frames, feats.size(1))))
