"""Optimisers and schedules. A schedule is a pure function of the step, so resuming needs no state of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from dualtk.config import (
    HoldScheduleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TransformerScheduleConfig,
)

Schedule = Callable[[int], float]  # step (0 is the first) -> learning rate


def transformer_schedule(peak: float, warmup_steps: int) -> Schedule:
    """Linear to `peak` at `warmup_steps`, then peak * sqrt(warmup_steps / step) (Vaswani et al. 2017, section 5.3)."""

    def rate(step: int) -> float:
        now = step + 1
        warmup = max(1, warmup_steps)
        return peak * min(now / warmup, math.sqrt(warmup / now))

    return rate


def hold_schedule(
    initial: float, peak: float, final: float, warmup_steps: int, hold_steps: int, final_step: int
) -> Schedule:
    """Warm up, hold, decay exponentially to `final` at `final_step`, stay there (CoDERT, section 4.2)."""

    def rate(step: int) -> float:
        if step < warmup_steps:
            return initial + (peak - initial) * step / warmup_steps
        decay_start = warmup_steps + hold_steps
        if step < decay_start:
            return peak
        progress = min(1.0, (step - decay_start) / max(1, final_step - decay_start))
        return float(peak * (final / peak) ** progress)

    return rate


def cosine_schedule(peak: float, final: float, warmup_steps: int, max_steps: int) -> Schedule:
    """Linear to `peak`, then half a cosine to `final` at `max_steps` (Loshchilov and Hutter 2017)."""

    def rate(step: int) -> float:
        if step < warmup_steps:
            return peak * (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
        return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return rate


def build_schedule(section: ScheduleConfig, max_steps: int) -> Schedule:
    """The schedule of a configuration."""
    if isinstance(section, TransformerScheduleConfig):
        return transformer_schedule(**section.arguments())
    if isinstance(section, HoldScheduleConfig):
        return hold_schedule(**section.arguments())
    return cosine_schedule(max_steps=max_steps, **section.arguments())


def build_optimizer(section: OptimizerConfig, parameters: Iterable[tuple[str, Parameter]]) -> Optimizer:
    """Adam or AdamW; weight decay on matrices only, never on norms and biases."""
    decayed: list[Parameter] = []
    plain: list[Parameter] = []
    for _, parameter in parameters:
        if parameter.requires_grad:
            (decayed if parameter.dim() > 1 else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": section.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    kind = torch.optim.Adam if section.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=0.0, betas=section.betas, eps=section.eps, fused=True)  # one kernel, not ten per tensor
