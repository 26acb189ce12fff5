"""Which passes a step runs: all of them, one that is drawn, or those of the sandwich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dualtk.modes import Mode
from dualtk.pruning.sandwich import sandwich


@dataclass(frozen=True)
class PlannedPass:
    """A run of the network in each step: its mode and the weight of its loss."""

    mode: Mode
    weight: float = 1.0


@dataclass(frozen=True)
class PassPlan:
    """The passes of training; what is drawn follows from (seed, step), so it is the same on every process.

    Attributes:
        passes: what runs in each step.
        sampling: probability of each mode; where given, one pass is drawn for a step (randomly sampled training).
        sampling_steps: steps after which all passes run (joint training); None: sampled to the end.
        sandwich: of the streaming passes, the smallest, the largest and one other run in a step.
        seed: of the draws.
    """

    passes: Sequence[PlannedPass]
    sampling: dict[str, float] | None = None
    sampling_steps: int | None = None
    sandwich: bool = False
    seed: int = 1

    def at(self, step: int) -> list[PlannedPass]:
        """The passes of training step `step`."""
        if self.sandwich:
            chosen = sandwich([plan.mode for plan in self.passes], self.seed, step)
            return [plan for plan in self.passes if plan.mode in chosen]
        if self.sampling is None or not self._samples(step):
            return list(self.passes)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        weights = torch.tensor([self.sampling[plan.mode.name] for plan in self.passes])
        return [self.passes[int(torch.multinomial(weights, 1, generator=generator))]]

    def draws(self, step: int) -> bool:
        """Whether steps such as `step` leave out some passes."""
        return self.sandwich or self._samples(step)

    def _samples(self, step: int) -> bool:
        return self.sampling is not None and (self.sampling_steps is None or step < self.sampling_steps)
