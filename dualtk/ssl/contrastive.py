"""The contrastive loss: which quantised frame belongs here (wav2vec 2.0, section 3.2, equation 3).

Axes: B batch, M masked frames of the utterance that has most, K distractors, G groups, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Contrast:
    """What became of each masked frame; zero where there is none.

    Attributes:
        losses: (B, M) nats.
        correct: (B, M) bool, the target is more similar than every distractor. A frame all of whose distractors are
            equal to its target says nothing and counts as wrong: with a collapsed codebook all would be right.
    """

    losses: Tensor
    correct: Tensor


def contrastive_logits(context: Tensor, targets: Tensor, codes: Tensor, distractors: Tensor, kappa: float) -> Tensor:
    """Cosine similarities over `kappa`, (B, M, K+1): the target's first, then the distractors'.

    Args:
        context: (B, M, D) what the context network says of each masked frame.
        targets: (B, M, D) the quantised frames.
        codes: (B, M, G) entries that they were made of; a distractor with the target's own gets -inf.
        distractors: (B, M, K) positions among the masked frames.
        kappa: temperature.
    """
    kind = torch.promote_types(context.dtype, torch.float32)
    with torch.autocast(context.device.type, enabled=False):  # kappa magnifies what half precision would lose
        own = functional.normalize(context.to(kind), dim=2, eps=1e-8)
        goals = functional.normalize(targets.to(kind), dim=2, eps=1e-8)
        similarities = torch.bmm(own, goals.transpose(1, 2)) / kappa  # (B, M, D) x (B, D, M) -> (B, M, M)
    same = (codes.unsqueeze(2) == codes.unsqueeze(1)).all(3)
    others = similarities.masked_fill(same, -torch.inf).gather(2, distractors)
    return torch.cat([similarities.diagonal(dim1=1, dim2=2).unsqueeze(2), others], dim=2)


def contrast(logits: Tensor, valid: Tensor) -> Contrast:
    """Cross entropy of the first of (B, M, K+1) logits, and whether it is the largest; `valid` (B, M) bool."""
    losses = torch.logsumexp(logits, dim=2) - logits[..., 0]
    rival = logits[..., 1:].amax(2)
    correct = (logits[..., 0] > rival) & (rival > -torch.inf)
    return Contrast(losses.masked_fill(~valid, 0.0), correct & valid)
