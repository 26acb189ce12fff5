"""What a target must be told from: other masked frames of its utterance (wav2vec 2.0, section 3.2).

Axes: B batch, M masked frames of the utterance that has most, K distractors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dualtk.nn.spans import uniform, uniform_integers


def draw_distractors(valid: Tensor, num_distractors: int, generator: torch.Generator | None = None) -> Tensor:
    """(B, M) bool, the masked frames of each utterance -> (B, M, K) int64: positions among them, never a frame's own.

    Uniform over the others; no position twice, unless there are fewer than K others. Rows that are not valid, and
    those of an utterance of one masked frame, hold positions that mean nothing.
    """
    num_utterances, num_masked = valid.shape
    counts = valid.sum(1).view(-1, 1, 1)
    shape = (num_utterances, num_masked, num_distractors)
    own = torch.arange(num_masked, device=valid.device).view(1, -1, 1)
    repeated = uniform_integers(uniform(shape, valid.device, generator), counts - 1)
    repeated = repeated + (repeated >= own)  # steps over the frame itself
    if num_masked <= num_distractors:
        return repeated.clamp(max=max(num_masked - 1, 0))
    scores = uniform((num_utterances, num_masked, num_masked), valid.device, generator)
    others = valid.unsqueeze(1) & ~torch.eye(num_masked, dtype=torch.bool, device=valid.device)
    distinct = scores.masked_fill(~others, -1.0).topk(num_distractors, dim=2, sorted=False).indices
    return torch.where(counts > num_distractors, distinct, repeated.clamp(max=num_masked - 1))
