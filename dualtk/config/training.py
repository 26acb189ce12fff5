"""The sections `optimizer`, `schedule` and `train`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dualtk.config.section import Amount, Count, Fraction, Positive, Section, Size


class OptimizerConfig(Section):
    """Adam or AdamW."""

    name: Literal["adam", "adamw"] = "adamw"
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)
    eps: Positive = 1e-9
    weight_decay: Amount = 1e-3


class TransformerScheduleConfig(Section):
    """Linear warm-up to `peak`, then the inverse square root of the step (Vaswani et al. 2017)."""

    name: Literal["transformer"]
    peak: Amount = 2e-3
    warmup_steps: Count = 10000


class HoldScheduleConfig(Section):
    """Linear warm-up from `initial` to `peak`, hold, exponential decay to `final` at `final_step` (CoDERT 4.2)."""

    name: Literal["hold"]
    initial: Amount = 1e-7
    peak: Amount = 5e-4
    final: Amount = 1e-5
    warmup_steps: Count = 3000
    hold_steps: Count = 35000
    final_step: Size = 75000


class CosineScheduleConfig(Section):
    """Linear warm-up to `peak`, then half a cosine down to `final` at the last step of training."""

    name: Literal["cosine"]
    peak: Amount = 2e-3
    final: Amount = 1e-5
    warmup_steps: Count = 200


ScheduleConfig = Annotated[
    TransformerScheduleConfig | HoldScheduleConfig | CosineScheduleConfig, Field(discriminator="name")
]


class TrainConfig(Section):
    """The loop. With `max_steps: 0` the network of `init` is masked, validated and left so."""

    max_steps: Count = 100000
    accumulate: Size = 1
    clip_norm: Positive = 5.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    validate_every: Size = 2000
    save_every: Size = 500
    average_best: Size = 5
    max_bad_steps: Size = 20
    log_every: Size = 50
    seed: Count = 1
