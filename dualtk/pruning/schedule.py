"""How much is masked at a step, and at which steps masks are drawn anew."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from dualtk.options import Probability, Section, Unit


class SparsitySchedule(Section):
    """From nothing masked, or from `initial`, to the whole of a mode's sparsity."""

    shape: Literal["constant", "linear", "cubic"] = "cubic"
    """`constant` masks everything at `start_step`; `linear`; `cubic` masks fast while there is much to spare (Zhu &
    Gupta 2017, equation 1)."""
    start_step: Annotated[NonNegativeInt, Unit("steps")] = 0
    """The first mask; before it every mode is dense."""
    end_step: Annotated[PositiveInt, Unit("steps")] = 1
    """From here on masks are complete, but for `constant`."""
    interval: Annotated[PositiveInt, Unit("steps")] = 1
    """Between two updates of the masks."""
    initial: Probability = 0.0
    """Fraction of the final sparsity at `start_step`, of the shapes that grow."""

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> SparsitySchedule:
        if self.shape != "constant" and self.end_step <= self.start_step:
            raise ValueError(f"end_step: {self.end_step} is not after start_step, {self.start_step}")
        return self

    @property
    def settled_step(self) -> int:
        """The last step that changes the amount that is masked."""
        return self.start_step if self.shape == "constant" else self.end_step

    def fraction(self, step: int) -> float:
        """Fraction of the final sparsity that masks have when `step` runs."""
        if step < self.start_step:
            return 0.0
        if step >= self.settled_step:
            return 1.0
        passed = (step - self.start_step) // self.interval * self.interval  # what the last update saw
        done = passed / (self.end_step - self.start_step)
        return 1.0 - (1.0 - self.initial) * (1.0 - done) ** (3 if self.shape == "cubic" else 1)

    def updates(self, step: int) -> bool:
        """Whether masks change before `step` runs, as long as they grow."""
        if step < self.start_step or step > self.settled_step:
            return False
        return step == self.settled_step or (step - self.start_step) % self.interval == 0
