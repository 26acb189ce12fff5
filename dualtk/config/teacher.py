"""The section `teacher`: where the second network comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dualtk.config.model import EncoderConfig, ModelConfig
from dualtk.config.modes import ModeConfig
from dualtk.config.section import Amount, Section

TEACHER = "teacher"  # the pass of the second network


class SharedDecoderTeacherConfig(Section):
    """An encoder that learns in the same steps, with the student's predictor and joiner (CoDERT, section 3.3)."""

    name: Literal["shared_decoder"]
    encoder: EncoderConfig
    mode: ModeConfig
    weight: Amount = 1.0


class SeparateTeacherConfig(Section):
    """A whole network that learns in the same steps; of the student's shape where `model` is null."""

    name: Literal["separate"]
    model: ModelConfig | None = None
    mode: ModeConfig
    weight: Amount = 1.0


class FrozenTeacherConfig(Section):
    """The trained network of the experiment folder `exp`, in one of its modes.

    `cache` keeps its outputs on disk from one epoch to the next: float32 frames, and hidden vectors and heads of every
    block where a term reads them.
    """

    name: Literal["frozen"]
    exp: Path
    mode: str
    cache: bool = False


TeacherConfig = Annotated[
    SharedDecoderTeacherConfig | SeparateTeacherConfig | FrozenTeacherConfig, Field(discriminator="name")
]
