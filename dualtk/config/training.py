"""The sections `optimizer`, `schedule` and `train`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dualtk.config.section import Section


class OptimizerConfig(Section):
    """Adam or AdamW."""

    name: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-9
    weight_decay: float = 1e-3


class TransformerScheduleConfig(Section):
    """Linear warm-up to `peak`, then the inverse square root of the step (Vaswani et al. 2017)."""

    name: Literal["transformer"]
    peak: float = 2e-3
    warmup_steps: int = 10000


class HoldScheduleConfig(Section):
    """Linear warm-up from `initial` to `peak`, hold, exponential decay to `final` at `final_step` (CoDERT 4.2)."""

    name: Literal["hold"]
    initial: float = 1e-7
    peak: float = 5e-4
    final: float = 1e-5
    warmup_steps: int = 3000
    hold_steps: int = 35000
    final_step: int = 75000


class CosineScheduleConfig(Section):
    """Linear warm-up to `peak`, then half a cosine down to `final` at the last step of training."""

    name: Literal["cosine"]
    peak: float = 2e-3
    final: float = 1e-5
    warmup_steps: int = 200


ScheduleConfig = Annotated[
    TransformerScheduleConfig | HoldScheduleConfig | CosineScheduleConfig, Field(discriminator="name")
]


class TrainConfig(Section):
    """The loop."""

    max_steps: int = 100000
    accumulate: int = Field(default=1, ge=1)
    clip_norm: float = 5.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    validate_every: int = 2000
    save_every: int = 500
    average_best: int = Field(default=5, ge=1)
    max_bad_steps: int = 20
    log_every: int = 50
    seed: int = 1
