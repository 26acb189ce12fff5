"""The section `pruning`: how the masks of sparse modes come about. A mode's own `sparsity` says how much is masked."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from dualtk.config.section import Count, Probability, Section, Size


class SparsityScheduleConfig(Section):
    """`dualtk.pruning.schedule.SparsitySchedule`."""

    shape: Literal["constant", "linear", "cubic"] = "cubic"
    start_step: Count = 0
    end_step: Size = 1
    interval: Size = 1
    initial: Probability = 0.0

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> SparsityScheduleConfig:
        if self.shape != "constant" and self.end_step <= self.start_step:
            raise ValueError(f"end_step: {self.end_step} is not after start_step, {self.start_step}")
        return self

    @property
    def settled_step(self) -> int:
        """The step with whose masks the sparsity is reached."""
        return self.start_step if self.shape == "constant" else self.end_step


class PruningConfig(Section):
    """`dualtk.pruning.pruner.Pruner`.

    `pattern` is `unstructured`, blocks such as `8x1` (outputs x inputs) or, in quotes, N:M such as `"2:4"`. With
    `update_only_kept` a sparse pass trains the weights that it keeps, otherwise all, straight through the mask. With
    `sandwich` a step runs the smallest, the largest and one other of the streaming passes.
    """

    pattern: str = "unstructured"
    scope: Literal["layer", "kind", "global"] = "layer"
    schedule: SparsityScheduleConfig = SparsityScheduleConfig()
    regrow: bool = False
    update_only_kept: bool = True
    sandwich: bool = False
