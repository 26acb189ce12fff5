"""Connectionist temporal classification beside the transducer (Graves et al. 2006): a head on the encoder and its loss.

The encoder of a transducer may take long to find which frames belong to which labels; CTC finds it sooner, since it has
no predictor to lean on (Hori et al. 2017). Every mode has the same head, on the frames of its own pass.

Shapes: B batch, T frames, U labels, D width, V vocabulary.
"""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from dualtk.edit_distance import edits
from dualtk.errors import InputError
from dualtk.options import Section, Unit

BLANK = 0  # as in the transducer


class CTCHead(nn.Module):
    """log softmax(W f + b) of each encoder frame.

    Args:
        encoder_dim: width of encoder frames.
        vocab_size: tokens with blank, which is 0.
    """

    def __init__(self, encoder_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(encoder_dim, vocab_size)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (..., T, D) -> log-probabilities (..., T, V), in at least float32."""
        logits: Tensor = self.output(frames)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def required_head(head: CTCHead | None) -> CTCHead:
    """A network's CTC head.

    Raises:
        InputError: it has none.
    """
    if head is None:
        raise InputError("the network has no CTC head: it was made without a section `ctc`")
    return head


class CTCLoss:
    """The CTC loss, and its weight beside the transducer loss, which may change linearly.

    Args:
        all: see `CTCOptions`.
    """

    def __init__(self, *, weight: float, final_weight: float | None, decay_steps: int) -> None:
        self.weight = weight
        self.final_weight = weight if final_weight is None else final_weight
        self.decay_steps = decay_steps

    def weight_at(self, step: int) -> float:
        """The weight at training step `step`."""
        progress = min(1.0, step / self.decay_steps) if self.decay_steps else 1.0
        return self.weight + progress * (self.final_weight - self.weight)

    def __call__(self, log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Log-probabilities (B, T, V) with lengths (B,), targets (B, U) with lengths (B,) -> (B,) loss.

        That of an utterance whose labels do not fit into its frames is zero, and so is its gradient.
        """
        frames_first = log_probs.transpose(0, 1)  # (B, T, V) -> (T, B, V)
        return functional.ctc_loss(
            frames_first, targets, lengths, target_lengths, BLANK, reduction="none", zero_infinity=True
        )


def greedy_error_rates(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """(B,) edit distance of the labels of each best path and the targets, relative to their number, or to 1.

    Args:
        log_probs: (B, T, V) with `lengths` (B,).
        targets, target_lengths: (B, U) and (B,).
    """
    rates = []
    rows = zip(log_probs.argmax(2).tolist(), lengths.tolist(), targets.tolist(), target_lengths.tolist())
    for classes, length, labels, count in rows:
        said = [token for token, _ in groupby(classes[:length]) if token != BLANK]
        rates.append(edits(labels[:count], said).total / max(1, count))
    return torch.tensor(rates)


def unalignable(lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """(B,) bool: the labels do not fit into the frames, as each takes one, and equal neighbours one between them.

    Args:
        lengths: (B,) frames.
        targets, target_lengths: (B, U) and (B,).
    """
    repeated = targets[:, 1:] == targets[:, :-1]
    place = torch.arange(1, repeated.shape[1] + 1, device=targets.device)
    repeats = (repeated & (place < target_lengths.unsqueeze(1))).sum(1)
    return target_lengths + repeats > lengths


class CTCOptions(Section):
    """A CTC loss on the encoder beside the transducer loss, for every pass of the student and of a teacher that learns.

    It is added, as in ESPnet and icefall: the transducer loss keeps its weight 1. Where the labels of an utterance do
    not fit into its encoder frames, its CTC loss is 0; `ctc_unalignable` of the log is the share of such utterances.
    """

    weight: NonNegativeFloat = 0.3
    """Of the CTC loss beside the transducer loss of the same pass. 0.1 to 0.3 is usual; more at first, with a
    `final_weight`, where a transducer does not find the alignments by itself."""
    final_weight: NonNegativeFloat | None = None
    """The weight from step `decay_steps` on; null: it stays `weight`."""
    decay_steps: Annotated[NonNegativeInt, Unit("steps")] = 0
    """Over which the weight goes linearly from `weight` to `final_weight`."""

    @model_validator(mode="after")
    def _trains(self) -> CTCOptions:
        if (self.final_weight is None) != (self.decay_steps == 0):
            raise ValueError("final_weight: goes with decay_steps, and neither is there alone")
        if self.weight == 0.0 and not self.final_weight:
            raise ValueError("weight: 0 trains no head; leave out the section `ctc`")
        return self

    def build(self) -> CTCLoss:
        """The loss; the head is built with the network."""
        return CTCLoss(**self.arguments())
