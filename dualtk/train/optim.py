"""Optimisers and schedules. A schedule is a pure function of the step, so resuming needs no state of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch.nn import Parameter
from torch.optim import Optimizer

from dualtk.options import Fraction, Section, Unit

Schedule = Callable[[int], float]  # step (0 is the first) -> learning rate


class TransformerSchedule(Section):
    """Linear to `lr` at `warmup_steps`, then lr * sqrt(warmup_steps / step) (Vaswani et al. 2017, section 5.3)."""

    name: Literal["transformer"]
    """Which schedule."""
    lr: NonNegativeFloat = 2e-3
    """The highest learning rate."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 10000
    """Until `lr` is reached."""

    def build(self, max_steps: int) -> Schedule:
        """The schedule of a training of any length."""

        def rate(step: int) -> float:
            now = step + 1
            warmup = max(1, self.warmup_steps)
            return self.lr * min(now / warmup, math.sqrt(warmup / now))

        return rate


class HoldSchedule(Section):
    """Warm up, hold, decay exponentially to `final` at `final_step`, stay there (CoDERT, section 4.2)."""

    name: Literal["hold"]
    """Which schedule."""
    initial: NonNegativeFloat = 1e-7
    """Learning rate of the first step."""
    lr: PositiveFloat = 5e-4
    """The highest learning rate."""
    final: NonNegativeFloat = 1e-5
    """The last learning rate."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 3000
    """From `initial` to `lr`, linearly."""
    hold_steps: Annotated[NonNegativeInt, Unit("steps")] = 35000
    """At `lr`."""
    final_step: Annotated[PositiveInt, Unit("steps")] = 75000
    """From here on it is `final`."""

    def build(self, max_steps: int) -> Schedule:
        """The schedule of a training of any length."""

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return self.initial + (self.lr - self.initial) * step / self.warmup_steps
            decay_start = self.warmup_steps + self.hold_steps
            if step < decay_start:
                return self.lr
            progress = min(1.0, (step - decay_start) / max(1, self.final_step - decay_start))
            return float(self.lr * (self.final / self.lr) ** progress)

        return rate


class CosineSchedule(Section):
    """Linear to `lr`, then half a cosine to `final` at the last step (Loshchilov and Hutter 2017)."""

    name: Literal["cosine"]
    """Which schedule."""
    lr: NonNegativeFloat = 2e-3
    """The highest learning rate."""
    final: NonNegativeFloat = 1e-5
    """The last learning rate."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 200
    """Until `lr` is reached."""

    def build(self, max_steps: int) -> Schedule:
        """The schedule of a training of `max_steps`."""

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return self.lr * (step + 1) / self.warmup_steps
            progress = min(1.0, (step - self.warmup_steps) / max(1, max_steps - self.warmup_steps))
            return self.final + (self.lr - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))

        return rate


class LinearSchedule(Section):
    """Linear to `lr`, then linear to `final` at the last step (wav2vec 2.0, Baevski et al. 2020, section 4.2)."""

    name: Literal["linear"]
    """Which schedule."""
    lr: NonNegativeFloat = 5e-4
    """The highest learning rate."""
    final: NonNegativeFloat = 0.0
    """The last learning rate."""
    warmup_steps: Annotated[NonNegativeInt, Unit("steps")] = 32000
    """Until `lr` is reached."""

    def build(self, max_steps: int) -> Schedule:
        """The schedule of a training of `max_steps`."""

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return self.lr * (step + 1) / self.warmup_steps
            progress = min(1.0, (step - self.warmup_steps) / max(1, max_steps - self.warmup_steps))
            return self.lr + (self.final - self.lr) * progress

        return rate


ScheduleOptions = Annotated[
    TransformerSchedule | HoldSchedule | CosineSchedule | LinearSchedule, Field(discriminator="name")
]


class OptimizerOptions(Section):
    """Adam or AdamW; weight decay on matrices only, never on norms and biases."""

    name: Literal["adam", "adamw"] = "adamw"
    """`adamw` decays weights beside the gradient, `adam` within it."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    """Decay of the two moments."""
    eps: PositiveFloat = 1e-9
    """Added to the root of the second moment."""
    weight_decay: NonNegativeFloat = 1e-3
    """Of matrices."""

    def build(self, parameters: Iterable[tuple[str, Parameter]]) -> Optimizer:
        """The optimiser of named parameters; the schedule sets its learning rate."""
        decayed: list[Parameter] = []
        plain: list[Parameter] = []
        for _, parameter in parameters:
            if parameter.requires_grad:
                (decayed if parameter.dim() > 1 else plain).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, lr=0.0, betas=self.betas, eps=self.eps, fused=True)  # one kernel, not ten per tensor
