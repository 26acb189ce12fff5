"""How well a language model predicts a text.

Shapes: N sentences that are read together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dualtk.lm.network import NeuralLanguageModel
from dualtk.lm_training.sentences import Sentences, epoch_batches
from dualtk.search.language_model import LanguageModel

TOGETHER = 256  # sentences


@dataclass(frozen=True)
class Perplexity:
    """Of a text, ends of sentences counted as predicted.

    Attributes:
        log_prob: natural logarithm of the text's probability.
        tokens: that were predicted, ends among them.
        words: the same in words.
    """

    log_prob: float
    tokens: int
    words: int

    @property
    def of_tokens(self) -> float:
        """exp of the mean negative log-probability of a token."""
        return _exp(-self.log_prob / self.tokens)

    def __str__(self) -> str:
        return f"perplexity {self.of_tokens:.2f} a token, {_exp(-self.log_prob / self.words):.1f} a word"


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _of(log_prob: float, sentences: Sentences) -> Perplexity:
    return Perplexity(log_prob, sentences.num_predicted, sentences.num_words + len(sentences))


@torch.inference_mode()
def network_perplexity(network: NeuralLanguageModel, sentences: Sentences, max_tokens: int) -> Perplexity:
    """That of a network, in eval mode, in batches of at most `max_tokens`."""
    device, total = network.output.weight.device, 0.0
    for indices in epoch_batches(sentences.lengths, max_tokens, 0, 0):
        labels, lengths = sentences.batch(indices.tolist())
        total += float(network.losses(labels.to(device), lengths.to(device)).double().sum())
    return _of(-total, sentences)


def model_perplexity(model: LanguageModel[Any], sentences: Sentences) -> Perplexity:
    """That of any model, asked as a search asks it."""
    total = 0.0
    order = np.argsort(-sentences.lengths, kind="stable").tolist()  # those that are over first are the last
    for first in range(0, len(order), TOGETHER):
        rows = [sentences[index].tolist() for index in order[first : first + TOGETHER]]
        states = [model.start() for _ in rows]
        for place in range(len(rows[0])):
            rows_left = [row for row in rows if len(row) > place]
            total += sum(model.final(states[len(rows_left) :]))
            states = states[: len(rows_left)]
            tokens = [row[place] for row in rows_left]
            total += float(model.scores(states).double()[range(len(tokens)), tokens].sum())
            states = model.advance(states, tokens)
        total += sum(model.final(states))
    return _of(total, sentences)
