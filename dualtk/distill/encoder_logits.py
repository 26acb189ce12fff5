"""CoDERT: the student's encoder imitates the logits of the teacher's (Swaminathan et al. 2021, section 3.3).

Axes: B batch, T frames, V vocabulary, K logits compared.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, TermOptions
from dualtk.errors import InputError
from dualtk.nn.masks import padding_mask
from dualtk.options import Unit
from dualtk.transducer.model import Pass

Distance = Literal["l2", "mean_square", "cross_entropy", "cosine"]


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): the squared L2 distance, summed over the logits (equation 1)."""
    return (student - teacher).square().sum(2)


def mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): the squared L2 distance over the number of logits, which does not grow with them."""
    return (student - teacher).square().mean(2)


def cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): of the student's softmax under the teacher's."""
    return -(teacher.softmax(2) * student.log_softmax(2)).sum(2)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(B, T, K) twice -> (B, T): one minus the cosine of the angle between them."""
    return 1.0 - functional.cosine_similarity(student, teacher, dim=2)


DISTANCES = {
    "l2": squared_distance,
    "mean_square": mean_square,
    "cross_entropy": cross_entropy,
    "cosine": cosine_distance,
}


def encoder_logits(run: Pass) -> Tensor:
    """(B, T, V): what the additive joint adds for a frame, in at least float32."""
    logits = run.projected
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class EncoderLogits:
    """Distance of the encoder's logits from the teacher's, frame by frame.

    Args:
        distance: squared L2 (the paper's choice) as a sum or a mean over the logits, softmax cross-entropy, or cosine.
        top_k: compare the teacher's k largest logits of each frame only; None or V: all.
        centred: take the mean over the compared logits from each frame of both first.
        reach_teacher: let the gradient into the teacher too (the paper does not).
        reduction: over frames; "sum" is equation 1 as printed.
    """

    name = "encoder_logits"
    compares_lattices = False

    def __init__(
        self,
        *,
        distance: Distance,
        top_k: int | None,
        centred: bool,
        reach_teacher: bool,
        reduction: Reduction,
    ) -> None:
        self.distance: Distance = distance
        self.top_k = top_k
        self.centred = centred
        self.reach_teacher = reach_teacher
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        own, goal = encoder_logits(student.run), encoder_logits(teacher.run)
        if own.shape != goal.shape:
            raise InputError(f"encoder_logits: student {tuple(own.shape)}, teacher {tuple(goal.shape)}")
        if not self.reach_teacher:
            goal = goal.detach()
        if self.top_k is not None and self.top_k < goal.shape[2]:
            index = goal.topk(self.top_k, dim=2).indices
            own, goal = own.gather(2, index), goal.gather(2, index)
        if self.centred:
            own, goal = (logits - logits.mean(2, keepdim=True) for logits in (own, goal))
        valid = padding_mask(student.run.encoded.lengths, own.shape[1])
        return reduce_valid(DISTANCES[self.distance](own, goal), valid, self.reduction)


class EncoderLogitsOptions(TermOptions):
    """Distance of the encoders' logits, frame by frame (CoDERT, section 3.3)."""

    needs_joiner = "additive"

    name: Literal["encoder_logits"]
    """Which term."""
    distance: Distance = "l2"
    """Squared `l2` (the paper; a sum over the logits), `mean_square` (their mean, which does not grow with their
    number), `cross_entropy` of the softmaxes, or `cosine`."""
    top_k: Annotated[PositiveInt, Unit("tokens")] | None = None
    """Compare the teacher's largest logits only, so many of each frame; null for all."""
    centred: bool = False
    """Compare each frame's logits without their mean: with a joiner of `activation: identity` the softmax does not see
    a constant that is added to all of them, and the student need not learn it."""
    reach_teacher: bool = False
    """Let the gradient into the teacher too; the paper does not."""

    def build(self) -> EncoderLogits:
        """The term."""
        return EncoderLogits(**self.arguments())
