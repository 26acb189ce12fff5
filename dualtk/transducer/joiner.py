"""Joiners: encoder frame and predictor output to logits over the vocabulary.

A joiner is two projections to a common width J, an activation, and (tanh joiner) an output layer. Training never calls
`forward`: `joint_lattice` takes the projections and the output layer apart so that B x T x U x V need not exist.

Shapes: B batch, T frames, U labels, D width, J joiner width, V vocabulary.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from dualtk.options import Section


class Joiner(Protocol):
    """What the model, the loss and the search ask of a joiner."""

    vocab_size: int
    joiner_dim: int
    activation: str
    encoder: nn.Linear
    predictor: nn.Linear

    @property
    def output(self) -> nn.Linear | None:
        """The output layer, where there is one."""
        ...

    @property
    def layer(self) -> tuple[Tensor | None, Tensor | None]:
        """What stands behind the activation: weight and bias, as `JointInputs` reads them."""
        ...

    def __call__(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected encoder (..., J) and predictor (..., J) -> logits (..., V)."""
        ...


class TanhJoiner(nn.Module):
    """logits = W tanh(E f + P g) + b (Graves et al. 2013; Dual-mode ASR).

    Args:
        encoder_dim: width of encoder frames.
        predictor_dim: width of predictor outputs.
        joiner_dim: common width J.
        vocab_size: tokens with blank.
    """

    activation = "tanh"

    def __init__(self, encoder_dim: int, predictor_dim: int, joiner_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.joiner_dim = joiner_dim
        self.encoder = nn.Linear(encoder_dim, joiner_dim)
        self.predictor = nn.Linear(predictor_dim, joiner_dim)
        self.output = nn.Linear(joiner_dim, vocab_size)

    @property
    def layer(self) -> tuple[Tensor, Tensor]:
        """See `Joiner`."""
        return self.output.weight, self.output.bias

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected (..., J) and (..., J), broadcast -> logits (..., V)."""
        logits: Tensor = self.output(torch.tanh(encoder + predictor))
        return logits


class AdditiveJoiner(nn.Module):
    """logits = s a(E f + P g) with V-dimensional projections (CoDERT section 3.1, where s = 1).

    Args:
        encoder_dim: width of encoder frames.
        predictor_dim: width of predictor outputs.
        vocab_size: tokens with blank.
        activation: "tanh" as in the paper, whose logits lie in (-1, 1) and so cannot be sharp over a large vocabulary;
            or "identity", the deviation that lets them.
        scale: what the factor s behind tanh starts from, another deviation; it is learnt. None: 1 for good.
    """

    output = None

    def __init__(
        self, encoder_dim: int, predictor_dim: int, vocab_size: int, activation: str, scale: float | None
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.joiner_dim = vocab_size
        self.activation = activation
        self.encoder = nn.Linear(encoder_dim, vocab_size)
        self.predictor = nn.Linear(predictor_dim, vocab_size)
        self.scale = None if scale is None else nn.Parameter(torch.tensor([scale]))

    @property
    def layer(self) -> tuple[Tensor | None, None]:
        """See `Joiner`."""
        return self.scale, None

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """Projected (..., V) and (..., V), broadcast -> logits (..., V)."""
        logits = encoder + predictor
        logits = torch.tanh(logits) if self.activation == "tanh" else logits
        return logits if self.scale is None else logits * self.scale


class TanhJoinerOptions(Section):
    """logits = W tanh(E f + P g) + b (Graves et al. 2013)."""

    name: Literal["tanh"]
    """Which joiner."""
    joiner_dim: PositiveInt = 640
    """Common width of the projections of encoder and predictor."""

    def build(self, encoder_dim: int, predictor_dim: int, vocab_size: int) -> TanhJoiner:
        """The joiner between an encoder and a predictor of these widths."""
        return TanhJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **self.arguments())


class AdditiveJoinerOptions(Section):
    """logits = a(E f + P g), with projections to the vocabulary (CoDERT, section 3.1)."""

    name: Literal["additive"]
    """Which joiner."""
    activation: Literal["tanh", "identity"] = "identity"
    """`tanh` as in the paper, whose bounded logits cannot be sharp over a large vocabulary, or `identity`."""
    scale: PositiveFloat | None = None
    """What a factor of `tanh` starts from that is learnt, so that logits can be sharp; null: none, as in the paper."""

    @model_validator(mode="after")
    def _scales_what_is_bounded(self) -> AdditiveJoinerOptions:
        """Projections that nothing bounds have a scale of their own."""
        if self.scale is not None and self.activation != "tanh":
            raise ValueError(
                "scale: a factor of tanh; with activation: identity the projections are as large as they learn"
            )
        return self

    def build(self, encoder_dim: int, predictor_dim: int, vocab_size: int) -> AdditiveJoiner:
        """The joiner between an encoder and a predictor of these widths."""
        return AdditiveJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **self.arguments())


JoinerOptions = Annotated[TanhJoinerOptions | AdditiveJoinerOptions, Field(discriminator="name")]
