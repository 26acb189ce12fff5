"""What keeps targets from becoming trivial, and features small (wav2vec 2.0, sections 3.2 and 4.2).

Axes: B batch, T' frames, C channels, G groups, V entries of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.ssl.quantizer import mean_of_valid, perplexities


def diversity_loss(probabilities: Tensor) -> Tensor:
    """(G, V) mean probabilities of the entries -> (G V - perplexity) / (G V), to be minimised.

    Equation 4 is the negative entropy of the entries, in [-log(V) / V, 0]; this is the equivalent that the paper's
    footnote names and its weight of 0.1 is meant for: the entropy stands in an exponent, so that the value lies in
    [0, 1 - 1/V], 0 when all entries are in equal use.
    """
    return 1.0 - perplexities(probabilities).sum() / probabilities.numel()


def feature_penalty(extracted: Tensor, valid: Tensor) -> Tensor:
    """Mean square of the feature extractor's output (B, T', C) over the frames that exist, (B, T') bool."""
    squares = extracted.to(torch.promote_types(extracted.dtype, torch.float32)).square().mean(2)
    return mean_of_valid(squares.masked_fill(~valid, 0.0), valid)
