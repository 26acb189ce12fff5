"""A neural language model as a search asks it (`dualtk.search.language_model.LanguageModel`).

Shapes: N hypotheses, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dualtk.lm.network import END, START, NeuralLanguageModel
from dualtk.nn.onednn import without_onednn
from dualtk.transducer.predictor import State


class Place(NamedTuple):
    """After some labels: log-probabilities (V,) of the next, and what the network remembers, without the batch."""

    log_probs: Tensor
    memory: State


class NeuralModel:
    """Takes all hypotheses a label further in one step of the network.

    Args:
        network: in eval mode, on the device where it is to compute.
    """

    def __init__(self, network: NeuralLanguageModel) -> None:
        self.network = network
        self._device = network.output.weight.device

    def start(self) -> Place:
        """See `LanguageModel.start`."""
        return self._step([START], self.network.init_state(1))[0]

    def scores(self, states: Sequence[Place]) -> Tensor:
        """See `LanguageModel.scores`."""
        return torch.stack([state.log_probs for state in states])

    def advance(self, states: Sequence[Place], tokens: Sequence[int]) -> list[Place]:
        """See `LanguageModel.advance`."""
        return self._step(tokens, {key: torch.stack([one.memory[key] for one in states]) for key in states[0].memory})

    def final(self, states: Sequence[Place]) -> list[float]:
        """See `LanguageModel.final`."""
        return [float(state.log_probs[END]) for state in states]

    @torch.inference_mode()
    def _step(self, tokens: Sequence[int], memory: State) -> list[Place]:
        with without_onednn:
            log_probs, memory = self.network.step(torch.tensor(tokens, device=self._device), memory)
        rows = {key: value.unbind(0) for key, value in memory.items()}
        return [Place(one, {key: row[index] for key, row in rows.items()}) for index, one in enumerate(log_probs)]
