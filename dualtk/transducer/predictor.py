"""Predictors (the transducer's label side): what the labels so far say of the next one.

Both are causal in the labels and know nothing of modes: one predictor serves every pass of a step.

Shapes: B batch, U labels, D width, C context size. Label -1 is "before the first label": its embedding is zero.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from dualtk.options import Depth, Fraction, Section, Unit

State = dict[str, Tensor]  # float32, batch first; all zeros is the start of an utterance


class Predictor(Protocol):
    """What search and the model ask of a predictor."""

    output_dim: int
    embedding: nn.Embedding

    def __call__(self, targets: Tensor) -> Tensor:
        """Labels (B, U) -> outputs (B, U+1, D); row u has seen the first u labels."""
        ...

    def init_state(self, batch: int) -> State:
        """The state before the first label."""
        ...

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One more label each: (B,) ids (-1 for the start) -> output (B, D) and the state after it."""
        ...


def embed_labels(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
    """Embeddings (..., D) of `tokens` (...); zero for -1."""
    known = (tokens >= 0).unsqueeze(-1)
    rows: Tensor = embedding(tokens.clamp(min=0))
    return rows * known.to(rows.dtype)


class StatelessPredictor(nn.Module):
    """Embedding and one depthwise convolution over the last C labels (Ghodsi et al. 2020).

    The state holds the embeddings of the last C-1 labels.
    """

    def __init__(self, vocab_size: int, *, dim: int, context_size: int, dropout: float) -> None:
        super().__init__()
        self.output_dim = dim
        self.context_size = context_size
        self.embedding = nn.Embedding(vocab_size, dim)
        self.taps = nn.Parameter(torch.full((context_size, dim), context_size**-0.5))
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, targets: Tensor) -> Tensor:
        """Labels (B, U) -> (B, U+1, D)."""
        tokens = functional.pad(targets, (1, 0), value=-1)
        rows = functional.pad(embed_labels(self.embedding, tokens), (0, 0, self.context_size - 1, 0))
        return self._combine(rows.unfold(1, self.context_size, 1))

    def init_state(self, batch: int) -> State:
        """No label seen."""
        return {"embeddings": self.taps.new_zeros(batch, self.context_size - 1, self.output_dim)}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Labels (B,) -> (B, D)."""
        rows = torch.cat([state["embeddings"], embed_labels(self.embedding, tokens).unsqueeze(1)], dim=1)
        output = self._combine(rows.transpose(1, 2).unsqueeze(1))  # (B, C, D) -> (B, 1, D, C)
        return output.squeeze(1), {"embeddings": rows[:, 1:]}

    def _combine(self, windows: Tensor) -> Tensor:
        """Windows (B, U, D, C) -> (B, U, D)."""
        mixed = torch.einsum("budc,cd->bud", windows, self.taps)
        output: Tensor = self.dropout(functional.silu(self.norm(mixed)))
        return output


class LSTMPredictor(nn.Module):
    """Embedding, LSTM layers, and where wanted a projection (Graves 2012; CoDERT section 4.1).

    Args:
        vocab_size: tokens with blank.
        others: see `LSTMPredictorOptions`.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding_dim: int,
        dim: int,
        num_layers: int,
        projection_dim: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.num_layers = num_layers
        self.output_dim = projection_dim or dim
        self.embedding = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, dim, num_layers, batch_first=True)
        self.projection = nn.Identity() if projection_dim is None else nn.Linear(dim, projection_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, targets: Tensor) -> Tensor:
        """Labels (B, U) -> (B, U+1, D)."""
        tokens = functional.pad(targets, (1, 0), value=-1)
        output, _ = self.lstm(self.dropout(embed_labels(self.embedding, tokens)))
        projected: Tensor = self.projection(self.dropout(output))
        return projected

    def windows(self, labels: Tensor) -> Tensor:
        """Labels (B, U), -1 for the start, as if nothing came before -> (B, U, D)."""
        projected: Tensor = self.projection(self.lstm(embed_labels(self.embedding, labels))[0])
        return projected

    def init_state(self, batch: int) -> State:
        """No label seen."""
        zeros = self.embedding.weight.new_zeros(batch, self.num_layers, self.dim)
        return {"hidden": zeros, "cell": zeros.clone()}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Labels (B,) -> (B, D)."""
        # torch wants (layers, B, D); the state is batch first.
        memory = (state["hidden"].transpose(0, 1).contiguous(), state["cell"].transpose(0, 1).contiguous())
        output, (hidden, cell) = self.lstm(embed_labels(self.embedding, tokens).unsqueeze(1), memory)
        after = {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}  # (L, B, D) -> (B, L, D)
        projected: Tensor = self.projection(output.squeeze(1))
        return projected, after


class LSTMPredictorOptions(Section):
    """An embedding and LSTM layers (Graves 2012; CoDERT, section 4.1)."""

    name: Literal["lstm"]
    """Which predictor."""
    embedding_dim: PositiveInt = 640
    """Width of the embedding."""
    dim: PositiveInt = 640
    """Units of each layer."""
    num_layers: Depth = 1
    """LSTM layers."""
    projection_dim: PositiveInt | None = None
    """Width of a linear layer at the end; null for none."""
    dropout: Fraction = 0.0
    """On the embedding and on the output."""

    def build(self, vocab_size: int) -> LSTMPredictor:
        """The predictor of `vocab_size` tokens, blank among them."""
        return LSTMPredictor(vocab_size, **self.arguments())


class StatelessPredictorOptions(Section):
    """An embedding and a convolution over the last labels (Ghodsi et al. 2020)."""

    name: Literal["stateless"]
    """Which predictor."""
    dim: PositiveInt = 512
    """Width of the embedding and the output."""
    context_size: Annotated[PositiveInt, Unit("labels")] = 2
    """Last labels that it reads."""
    dropout: Fraction = 0.0
    """On the output."""

    def build(self, vocab_size: int) -> StatelessPredictor:
        """The predictor of `vocab_size` tokens, blank among them."""
        return StatelessPredictor(vocab_size, **self.arguments())


PredictorOptions = Annotated[LSTMPredictorOptions | StatelessPredictorOptions, Field(discriminator="name")]
