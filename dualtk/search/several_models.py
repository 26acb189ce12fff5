"""Several language models in one search. Shapes: N hypotheses, V vocabulary."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from torch import Tensor

from dualtk.search.language_model import Fusion


class SeveralModels:
    """A `LanguageModel` whose scores are the weighted sum of others'; a state is a number for a state of each."""

    def __init__(self, models: Sequence[Fusion]) -> None:
        self._models = models
        self._states: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[int, ...], int] = {}
        self._lock = threading.Lock()

    def _number(self, states: tuple[int, ...]) -> int:
        with self._lock:
            if states not in self._numbers:
                self._numbers[states] = len(self._states)
                self._states.append(states)
            return self._numbers[states]

    def start(self) -> int:
        """See `LanguageModel.start`."""
        return self._number(tuple(one.model.start() for one in self._models))

    def scores(self, states: Sequence[int]) -> Tensor:
        """See `LanguageModel.scores`."""
        total = None
        for index, one in enumerate(self._models):
            scores = one.weight * one.model.scores([self._states[state][index] for state in states])
            total = scores if total is None else total + scores
        assert total is not None
        return total

    def advance(self, state: int, token: int) -> int:
        """See `LanguageModel.advance`."""
        states = zip(self._models, self._states[state])
        return self._number(tuple(one.model.advance(own, token) for one, own in states))

    def final(self, state: int) -> float:
        """See `LanguageModel.final`."""
        return sum(one.weight * one.model.final(own) for one, own in zip(self._models, self._states[state]))


def fused(models: Sequence[Fusion]) -> Fusion | None:
    """The models as one; None where there is none."""
    if len(models) <= 1:
        return models[0] if models else None
    return Fusion(SeveralModels(models), 1.0)
