"""Which passes a step runs: all of them, one that is drawn, or those of the sandwich; and what they are passes of."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from dualtk.modes import Mode
from dualtk.options import Section, Unit
from dualtk.pruning.pruner import Pruner
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
    """A run of the network in each step.

    Attributes:
        mode: that it runs in.
        weight: of its loss.
        probability: of being drawn, where one pass is.
        drawn: what the mode sees in training, with probabilities; one is drawn for each step. Empty: `mode` itself.
    """

    mode: Mode
    weight: float = 1.0
    probability: float = 1.0
    drawn: Sequence[tuple[Mode, float]] = ()


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
        """The passes of training step `step`, in modes that see what is drawn for it."""
        return [self._seeing(plan, step) for plan in self._running(step)]

    def _running(self, step: int) -> list[PlannedPass]:
        if self.sandwich:
            chosen = sandwich([plan.mode for plan in self.passes], self.seed, step)
            return [plan for plan in self.passes if plan.mode in chosen]
        if not self._samples(step):
            return list(self.passes)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        weights = torch.tensor([plan.probability for plan in self.passes])
        return [self.passes[int(torch.multinomial(weights, 1, generator=generator))]]

    def _seeing(self, plan: PlannedPass, step: int) -> PlannedPass:
        if not plan.drawn:
            return plan
        # Another sequence than that which draws passes, and one for each mode.
        key = f"{self.seed} {step} {plan.mode.name}"
        modes, weights = zip(*plan.drawn)
        return replace(plan, mode=random.Random(key).choices(modes, weights)[0])

    def draws(self, step: int) -> bool:
        """Whether steps such as `step` leave out some passes."""
        return self.sandwich or self._samples(step)

    def _samples(self, step: int) -> bool:
        return len(self.passes) > 1 and (self.sampled_steps == "all" or step < self.sampled_steps)


class PlannedPasses(nn.Module):
    """What is trained by passes over one network: the half of `Trainable` that does not depend on what they compute.

    Args:
        network: what runs.
        subsampling: of its encoder.
        plan: which passes run in a step.
        pruner: draws the masks of sparse modes.
    """

    def __init__(self, network: nn.Module, subsampling: int, plan: PassPlan, pruner: Pruner | None) -> None:
        super().__init__()
        self.network = network
        self.subsampling = subsampling
        self.plan = plan
        self.pruner = pruner
        self.settled_step = -1 if pruner is None else pruner.settled_step

    def planned(self, step: int) -> Sequence[PlannedPass]:
        """The passes of step `step`; in evaluation all of them."""
        return self.plan.at(step) if self.training else self.plan.passes

    def sparsities(self) -> dict[str, Tensor]:
        """The fraction of the prunable weights that is masked, as named scalars for the log."""
        return {} if self.pruner is None else self.pruner.parts()

    @property
    def module(self) -> nn.Module:
        """See `Trainable`."""
        return self

    def prepare(self, step: int) -> None:
        """See `Trainable`: masks are drawn."""
        if self.pruner is not None:
            self.pruner.update(step)

    def networks(self) -> dict[str, nn.Module]:
        """See `Trainable`."""
        return {"": self.network}

    def independent_parts(self) -> dict[str, list[nn.Parameter]]:
        """See `Trainable`: all of it is one."""
        return {"": list(self.parameters())}

    def training_state(self) -> dict[str, Tensor]:
        """See `Trainable`."""
        state: dict[str, Tensor] = self.state_dict()
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """See `Trainable`."""
        self.load_state_dict(dict(state))

    def warnings(self, values: Mapping[str, float], step: int) -> list[str]:
        """See `Trainable`."""
        return []
