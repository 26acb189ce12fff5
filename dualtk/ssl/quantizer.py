"""Product quantisation with a Gumbel softmax (wav2vec 2.0, section 2; Jang et al. 2017).

Axes: B batch, M frames, C width of the frames, G groups, V entries of a group, D width of the targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from dualtk.options import Section


class Temperature(Section):
    """The temperature of the Gumbel softmax: max(start * decay ** step, end) (section 4.2)."""

    start: PositiveFloat = 2.0
    """At the first step."""
    end: PositiveFloat = 0.5
    """The lowest."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.999995
    """Factor of each step."""

    @model_validator(mode="after")
    def _falls(self) -> Temperature:
        if self.end > self.start:
            raise ValueError(f"end: {self.end} is above start, {self.start}")
        return self

    def at(self, step: int) -> float:
        """The temperature of a step."""
        return max(self.start * self.decay**step, self.end)


@dataclass(frozen=True)
class Quantized:
    """What a quantiser made of a batch of frames.

    Attributes:
        vectors: (B, M, D) targets.
        codes: (B, M, G) int64, the entry that was chosen in each group.
        probabilities: (G, V) mean softmax over the valid frames, without noise or temperature.
        perplexities: (G,) in [1, V], detached: exponential of the entropy of the likeliest entries over the valid
            frames; how many entries of each group are in use.
    """

    vectors: Tensor
    codes: Tensor
    probabilities: Tensor
    perplexities: Tensor


def straight_through(soft: Tensor) -> Tensor:
    """(..., V) probabilities -> the largest as an exact one-hot vector, with the gradient of the probabilities."""
    hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def gumbel_choice(logits: Tensor, temperature: float) -> Tensor:
    """(..., V) logits -> a one-hot draw from their softmax, with the gradient of the Gumbel softmax (equation 1)."""
    noise = -torch.empty_like(logits).exponential_().log()
    return straight_through(functional.softmax((logits + noise) / temperature, dim=-1))


def perplexities(probabilities: Tensor) -> Tensor:
    """(G, V) -> (G,) exponential of the entropy of each group: 1 when one entry has all, V when all share."""
    # The clamp keeps the gradient of an entry that is never used finite.
    entropy: Tensor = -torch.xlogy(probabilities, probabilities.clamp(min=1e-30)).sum(-1)
    return entropy.exp()


def mean_of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """(B, M, ...) with its (B, M) bool mask -> (...)."""
    weights = valid.to(values.dtype)
    total: Tensor = torch.tensordot(weights, values, dims=2)
    return total / weights.sum().clamp(min=1.0)


class Quantizer(nn.Module):
    """One entry from each of G codebooks, joined and projected.

    Args:
        input_dim: width of the frames.
        output_dim: width of the targets.
        groups, entries: G and V.
        codebook_dim: width of the joined entries, a multiple of `groups`.
    """

    def __init__(self, input_dim: int, output_dim: int, *, groups: int, entries: int, codebook_dim: int) -> None:
        super().__init__()
        self.groups = groups
        self.entries = entries
        self.logits = nn.Linear(input_dim, groups * entries)
        self.codebook = nn.Parameter(torch.rand(groups, entries, codebook_dim // groups))
        self.output = nn.Linear(codebook_dim, output_dim)
        # Wide logits: entries are told apart from the first step on, before the noise drowns them.
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)

    def forward(self, frames: Tensor, valid: Tensor, temperature: float) -> Quantized:
        """Frames (B, M, C), and the (B, M) mask of those that exist: a Gumbel draw in training, else the likeliest."""
        logits = self.logits(frames).unflatten(-1, (self.groups, self.entries))  # (B, M, G, V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        likeliest = functional.one_hot(logits.argmax(-1), self.entries).to(logits)
        choice = gumbel_choice(logits, temperature) if self.training else likeliest
        vectors = torch.einsum("bmgv,gvd->bmgd", choice, self.codebook).flatten(2)
        return Quantized(
            self.output(vectors),
            choice.argmax(-1),
            mean_of_valid(functional.softmax(logits, dim=-1), valid),
            perplexities(mean_of_valid(likeliest, valid)).detach(),
        )


class QuantizerOptions(Section):
    """The codebooks that targets are made of (section 2)."""

    groups: PositiveInt = 2
    """Codebooks; a target joins an entry of each."""
    entries: Annotated[int, Field(ge=2)] = 320
    """Of each codebook."""
    codebook_dim: PositiveInt = 256
    """Width of the joined entries, a multiple of `groups`."""

    @model_validator(mode="after")
    def _groups_divide(self) -> QuantizerOptions:
        if self.codebook_dim % self.groups:
            raise ValueError(f"codebook_dim: {self.codebook_dim} does not divide by {self.groups} groups")
        return self

    def build(self, input_dim: int, output_dim: int) -> Quantizer:
        """The quantiser of frames of `input_dim`, with targets of `output_dim`."""
        return Quantizer(input_dim, output_dim, **self.arguments())
