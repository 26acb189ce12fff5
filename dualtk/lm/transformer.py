"""A Transformer language model (Irie et al. 2019): blocks of the encoder that see a bounded number of labels back.

Shapes: B batch, U labels, D width.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from dualtk.encoders.base import zero_state
from dualtk.encoders.transformer_block import transformer_stack
from dualtk.lm.network import START, NeuralLanguageModel
from dualtk.modes import streaming
from dualtk.nn.dropout import Dropout
from dualtk.options import Depth, Fraction, Section, Unit
from dualtk.transducer.predictor import State, embed_labels


class TransformerBody(nn.Module):
    """An embedding, and blocks that see the label itself and `left_context` before it; a `Predictor`.

    The state holds the keys and values of these labels, so it does not grow with the text.

    Args:
        vocab_size: tokens with blank.
        others: see `TransformerLanguageModelOptions`.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        dim: int,
        num_layers: int,
        num_heads: int,
        feedforward_dim: int,
        left_context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.output_dim = dim
        self.mode = streaming(left_context=left_context)
        self.embedding = nn.Embedding(vocab_size, dim)
        self.dropout = Dropout(dropout)
        self.stack = transformer_stack(
            num_layers,
            dim=dim,
            num_heads=num_heads,
            positions="rotary",
            mode_names=[self.mode.name],
            pre_norm=True,
            output_projection=True,
            gradient_checkpointing=False,
            feedforward_dim=feedforward_dim,
            dropout=dropout,
            activation=functional.gelu,
        )

    def forward(self, targets: Tensor) -> Tensor:
        """Labels (B, U) -> (B, U+1, D)."""
        tokens = functional.pad(targets, (1, 0), value=START)
        lengths = torch.full((len(tokens),), tokens.shape[1], device=tokens.device)  # what follows is not seen anyway
        x = self.dropout(embed_labels(self.embedding, tokens))
        frames: Tensor = self.stack(x, lengths, lengths, self.mode).frames
        return frames

    def init_state(self, batch: int) -> State:
        """No label seen."""
        return zero_state(self.stack.state_spec(self.mode), batch, self.embedding.weight)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Labels (B,) -> (B, D)."""
        x = embed_labels(self.embedding, tokens).unsqueeze(1)
        frames, state = self.stack.step(x, state, self.mode)
        return frames.squeeze(1), state


class TransformerLanguageModelOptions(Section):
    """An embedding, causal Transformer blocks, and a linear layer to the tokens (Irie et al. 2019)."""

    name: Literal["transformer"]
    """Which language model."""
    dim: PositiveInt = 256
    """Width of the embedding and the blocks."""
    num_layers: Depth = 6
    """Blocks."""
    num_heads: PositiveInt = 4
    """Attention heads; they divide `dim` into even widths."""
    feedforward_dim: PositiveInt = 1024
    """Inner width of the feed-forward branches."""
    left_context: Annotated[PositiveInt, Unit("labels")] = 64
    """Labels before the last one that each block sees."""
    dropout: Fraction = 0.1
    """On the embedding, of every residual branch, and inside the feed-forward."""

    @model_validator(mode="after")
    def _heads_are_even(self) -> TransformerLanguageModelOptions:
        """Rotary positions turn pairs of values."""
        if self.dim % (2 * self.num_heads):
            raise ValueError(f"num_heads: {self.num_heads} heads do not divide dim {self.dim} into even widths")
        return self

    def build(self, vocab_size: int) -> NeuralLanguageModel:
        """The model of `vocab_size` tokens, blank among them."""
        return NeuralLanguageModel(TransformerBody(vocab_size, **self.arguments()), vocab_size)
