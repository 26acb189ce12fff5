"""A language model over tokens: a predictor, as transducers have one, and the probabilities of the next label.

Shapes: B batch, U labels, D width, V vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualtk.transducer.predictor import Predictor, State

END = 0  # the class of blank, which no text has
START = -1  # the label before the first, as predictors know it
IGNORED = -100  # targets beyond the end of a sentence


class NeuralLanguageModel(nn.Module):
    """log p(next label | labels) = log softmax(W g + b) over the outputs g of a predictor; class 0 ends the sentence.

    Args:
        body: from the labels so far to an output (LSTM: Mikolov et al. 2010; Transformer: Irie et al. 2019).
        vocab_size: V, blank counted.
    """

    def __init__(self, body: Predictor, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.body = body
        self.output = nn.Linear(body.output_dim, vocab_size)

    def forward(self, labels: Tensor) -> Tensor:
        """Labels (B, U) -> log-probabilities (B, U+1, V); row u has seen the first u labels."""
        return self._log_probs(self.body(labels))

    def losses(self, labels: Tensor, lengths: Tensor) -> Tensor:
        """Negative log-probability (B,) of each sentence and its end: labels (B, U), lengths (B,)."""
        places = torch.arange(labels.shape[1] + 1, device=labels.device)
        following = functional.pad(labels, (0, 1), value=END).masked_fill(places == lengths.unsqueeze(1), END)
        following = following.masked_fill(places > lengths.unsqueeze(1), IGNORED)
        log_probs = self(labels).transpose(1, 2)  # (B, U+1, V) -> (B, V, U+1)
        return functional.nll_loss(log_probs, following, ignore_index=IGNORED, reduction="none").sum(1)

    def init_state(self, batch: int) -> State:
        """The state before the first label."""
        return self.body.init_state(batch)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One more label each: (B,) ids, `START` first -> log-probabilities (B, V) of the next, and the state then."""
        output, state = self.body.step(tokens, state)
        return self._log_probs(output), state

    def _log_probs(self, outputs: Tensor) -> Tensor:
        """(..., D) -> (..., V), in float32."""
        return torch.log_softmax(cast(Tensor, self.output(outputs)).float(), dim=-1)
