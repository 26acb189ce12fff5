"""What a configuration says of a language model and its training."""

from __future__ import annotations

from typing import Annotated

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from dualtk.lm.folder import NetworkSection
from dualtk.options import Section, Unit
from dualtk.train.optim import CosineSchedule, OptimizerOptions, ScheduleOptions


class LanguageModelTraining(Section):
    """The loop of a language model: every sentence once in an epoch, and a validation at its end."""

    max_epochs: Annotated[PositiveInt, Unit("epochs")] = 20
    """How often the text is read."""
    max_tokens: Annotated[PositiveInt, Unit("tokens")] = 4000
    """Most tokens of a batch, those that fill shorter sentences up among them."""
    max_sentence_tokens: Annotated[PositiveInt, Unit("tokens")] = 256
    """Longer sentences are cut after so many."""
    clip_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this norm where their own is larger."""
    save_every: Annotated[PositiveInt, Unit("steps")] = 500
    """Between two training states on disk; the end of an epoch has one too."""
    log_every: Annotated[PositiveInt, Unit("steps")] = 50
    """Between two lines of the log."""
    seed: NonNegativeInt = 1
    """Of weights, batches and dropout."""


class LanguageModelSystem(NetworkSection):
    """A language model and its training: what `dualtk train-lm --type lstm` and `--type transformer` read."""

    optimizer: OptimizerOptions = OptimizerOptions()
    """The optimiser."""
    schedule: ScheduleOptions = CosineSchedule(name="cosine")
    """The learning rate of each step."""
    train: LanguageModelTraining = LanguageModelTraining()
    """The loop."""
