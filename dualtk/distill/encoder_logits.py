"""CoDERT: the student's encoder imitates the logits of the teacher's (Swaminathan et al. 2021, section 3.3).

Axes: B batch, T frames, V vocabulary, K logits compared.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome
from dualtk.errors import InputError
from dualtk.nn.masks import padding_mask
from dualtk.transducer.model import Pass

Distance = Literal["l2", "cross_entropy", "cosine"]


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): the squared L2 distance, summed over the logits (equation 1)."""
    return (student - teacher).square().sum(2)


def cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): of the student's softmax under the teacher's."""
    return -(teacher.softmax(2) * student.log_softmax(2)).sum(2)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): one minus the cosine of the angle between them."""
    return 1.0 - functional.cosine_similarity(student, teacher, dim=2)


DISTANCES = {"l2": squared_distance, "cross_entropy": cross_entropy, "cosine": cosine_distance}


def encoder_logits(run: Pass) -> Tensor:
    """(B, T, V): what the additive joint adds for a frame, in at least float32."""
    logits = run.projected
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class EncoderLogits:
    """Distance of the encoder's logits from the teacher's, frame by frame.

    Args:
        distance: squared L2 (the paper's choice), softmax cross-entropy, or cosine.
        top_k: compare the teacher's k largest logits of each frame only; None or V: all.
        reach_teacher: let the gradient into the teacher too (the paper does not).
        reduction: over frames; "sum" is equation 1 as printed.
    """

    name = "encoder_logits"
    compares_lattices = False

    def __init__(
        self,
        *,
        distance: Distance = "l2",
        top_k: int | None = None,
        reach_teacher: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        self.distance: Distance = distance
        self.top_k = top_k
        self.reach_teacher = reach_teacher
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        ours, theirs = encoder_logits(student.run), encoder_logits(teacher.run)
        if ours.shape != theirs.shape:
            raise InputError(f"encoder_logits: student {tuple(ours.shape)}, teacher {tuple(theirs.shape)}")
        if not self.reach_teacher:
            theirs = theirs.detach()
        if self.top_k is not None and self.top_k < theirs.shape[2]:
            index = theirs.topk(self.top_k, dim=2).indices
            ours, theirs = ours.gather(2, index), theirs.gather(2, index)
        valid = padding_mask(student.run.encoded.lengths, ours.shape[1])
        return reduce_valid(DISTANCES[self.distance](ours, theirs), valid, self.reduction)
