"""An LSTM language model (Sundermeyer et al. 2012)."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from dualtk.lm.network import NeuralLanguageModel
from dualtk.options import Depth, Fraction, Section
from dualtk.transducer.predictor import LSTMPredictor


class LSTMLanguageModelOptions(Section):
    """An embedding, LSTM layers, and a linear layer to the tokens (Sundermeyer et al. 2012)."""

    name: Literal["lstm"]
    """Which language model."""
    embedding_dim: PositiveInt = 512
    """Width of the embedding."""
    dim: PositiveInt = 512
    """Units of each layer."""
    num_layers: Depth = 2
    """LSTM layers."""
    dropout: Fraction = 0.1
    """On the embedding and on the output."""

    def build(self, vocab_size: int) -> NeuralLanguageModel:
        """The model of `vocab_size` tokens, blank among them."""
        return NeuralLanguageModel(LSTMPredictor(vocab_size, projection_dim=None, **self.arguments()), vocab_size)
