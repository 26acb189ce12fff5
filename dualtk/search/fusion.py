"""What a beam search adds to the log-probability of each label: language models, and what the network knows of them.

    log p(y | x) + sum_i w_i log p_i(y | labels) - w log p_internal(y | labels) + reward

A positive weight is shallow fusion. A negative one takes a model of the text that the network was trained on away
before another is added: the density ratio (McDermott et al. 2019). The network's own language model is
estimated where the encoder is silent (Variani et al. 2020, HAT; Meng et al. 2021, ILME).

Shapes: N hypotheses, D width of encoder frames, J joiner width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualtk.search.hypothesis import BLANK
from dualtk.search.language_model import LanguageModel
from dualtk.transducer.joiner import Joiner

States = tuple[Any, ...]  # of each model


@dataclass(frozen=True)
class WeightedModel:
    """A language model, and what its log-probabilities are multiplied with."""

    model: LanguageModel[Any]
    weight: float


@dataclass(frozen=True)
class Fusion:
    """What is added to the log-probability of each label.

    Attributes:
        models: each with its weight; negative: taken away.
        internal_weight: of the network's own language model, which is taken away.
        length_reward: of each label, as a natural logarithm.
    """

    models: Sequence[WeightedModel]
    internal_weight: float = 0.0
    length_reward: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is added."""
        return not (self.models or self.internal_weight or self.length_reward)

    def start(self) -> States:
        """The states before the first label."""
        return tuple(one.model.start() for one in self.models)

    def advance(self, states: Sequence[States], tokens: Sequence[int]) -> list[States]:
        """The states (N,) after one more label of each."""
        after = [one.model.advance([state[index] for state in states], tokens) for index, one in enumerate(self.models)]
        return list(zip(*after)) if after else list(states)

    def added(self, states: Sequence[States], joiner: Joiner, predicted: Tensor) -> Tensor:
        """What each label but blank is given, (N, V - 1).

        Args:
            states: (N,) of the hypotheses.
            joiner: of the network.
            predicted: (N, J) predictor outputs as the joiner reads them.
        """
        total = predicted.new_full((1, 1), self.length_reward)
        for index, one in enumerate(self.models):
            scores = one.model.scores([state[index] for state in states])
            total = total + one.weight * scores[:, BLANK + 1 :].to(predicted.device)
        if self.internal_weight:
            total = total - self.internal_weight * internal_log_probs(joiner, predicted)
        return total

    def final(self, states: Sequence[States]) -> list[float]:
        """What hypotheses are given at the end of the utterance."""
        totals = [0.0] * len(states)
        for index, one in enumerate(self.models):
            endings = one.model.final([state[index] for state in states])
            totals = [total + one.weight * ending for total, ending in zip(totals, endings)]
        return totals


def internal_log_probs(joiner: Joiner, predicted: Tensor) -> Tensor:
    """Log-probabilities (N, V - 1) of labels, blank left out, where the encoder is silent: its frame is zeros.

    The bias of the encoder's projection stays. It and that of the predictor's are one bias of the joiner, of which
    nothing in the network says which part is whose.

    Args:
        joiner: of the network.
        predicted: (N, J) predictor outputs as the joiner reads them.
    """
    silence = joiner.encoder(predicted.new_zeros(1, joiner.encoder.in_features))
    logits = joiner(silence, predicted)
    return torch.log_softmax(logits[:, BLANK + 1 :], dim=-1)
