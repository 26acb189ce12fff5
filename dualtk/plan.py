"""Which passes a step runs: all of them, one that is drawn, or those of the sandwich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from dualtk.modes import Mode
from dualtk.options import Section, Unit
from dualtk.pruning.sandwich import sandwich

SampledSteps = Annotated[NonNegativeInt | Literal["all"], Unit("steps")]


class PassOptions(Section):
    """One run of the network in each step, in the mode that this entry is named after."""

    weight: NonNegativeFloat = 1.0
    """Of its loss."""
    probability: PositiveFloat = 1.0
    """Of being drawn where one pass is drawn for a step, relative to those of the other passes."""


@dataclass(frozen=True)
class PlannedPass:
    """A run of the network in each step: its mode, the weight of its loss, and how often it is drawn."""

    mode: Mode
    weight: float = 1.0
    probability: float = 1.0


@dataclass(frozen=True)
class PassPlan:
    """The passes of training; what is drawn follows from (seed, step), so it is the same on every process.

    Attributes:
        passes: what runs in each step.
        sampled_steps: first steps for which one pass is drawn (randomly sampled training); after them all run (joint
            training). "all": one is drawn to the end.
        sandwich: of the streaming passes, the smallest, the largest and one other run in a step.
        seed: of the draws.
    """

    passes: Sequence[PlannedPass]
    sampled_steps: int | Literal["all"] = 0
    sandwich: bool = False
    seed: int = 1

    def at(self, step: int) -> list[PlannedPass]:
        """The passes of training step `step`."""
        if self.sandwich:
            chosen = sandwich([plan.mode for plan in self.passes], self.seed, step)
            return [plan for plan in self.passes if plan.mode in chosen]
        if not self._samples(step):
            return list(self.passes)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        weights = torch.tensor([plan.probability for plan in self.passes])
        return [self.passes[int(torch.multinomial(weights, 1, generator=generator))]]

    def draws(self, step: int) -> bool:
        """Whether steps such as `step` leave out some passes."""
        return self.sandwich or self._samples(step)

    def _samples(self, step: int) -> bool:
        return len(self.passes) > 1 and (self.sampled_steps == "all" or step < self.sampled_steps)
