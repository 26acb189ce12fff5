"""What the configurations of all tasks have in common."""

from __future__ import annotations

from pydantic import Field, model_validator

from dualtk.config.data import BatchesConfig, FbankConfig, FeaturesConfig
from dualtk.config.init import InitConfig
from dualtk.config.modes import ModeConfig, PassConfig
from dualtk.config.pruning import PruningConfig
from dualtk.config.section import Section
from dualtk.config.training import OptimizerConfig, ScheduleConfig, TrainConfig
from dualtk.modes import Mode


class RunConfig(Section):
    """A run of training: modes, passes and masks, what it begins with, data, and the loop."""

    modes: dict[str, ModeConfig]
    passes: list[PassConfig] = Field(min_length=1)
    pruning: PruningConfig | None = None
    init: InitConfig | None = None
    features: FeaturesConfig = FbankConfig()
    batches: BatchesConfig = BatchesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _passes_run(self) -> RunConfig:
        """Passes run in known modes, each in one; masks are complete before the end; some network was trained."""
        if len({one.mode for one in self.passes}) != len(self.passes):
            raise ValueError("passes: two passes run in the same mode")
        for index, one in enumerate(self.passes):
            if one.mode not in self.modes:
                raise ValueError(f"passes.{index}.mode: {one.mode} is not one of the modes {sorted(self.modes)}")
        if self.train.max_steps == 0 and self.init is None:
            raise ValueError("train.max_steps: 0 trains nothing, and there is no section `init` that names a network")
        if self.pruning is not None and self.pruning.schedule.settled_step >= max(self.train.max_steps, 1):
            raise ValueError("pruning.schedule: masks are not complete before train.max_steps")
        return self

    def idle(self) -> list[str]:
        """What the run ends too early for, a line each."""
        return []

    def mode_list(self) -> list[Mode]:
        """The modes, in the order of the YAML."""
        return [section.mode(name) for name, section in self.modes.items()]
