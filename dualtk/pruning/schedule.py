"""How much is masked at a step, and at which steps masks are drawn anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SparsitySchedule:
    """From `initial` to the whole of a mode's sparsity.

    Attributes:
        shape: `constant` masks everything at `start_step`; `linear`; `cubic` masks fast while there is much to spare
            (Zhu & Gupta 2017, equation 1).
        start_step: the first mask; before it every mode is dense (warm-up).
        end_step: the step from which masks are complete.
        interval: steps between two updates.
        initial: fraction of the final sparsity at `start_step`, of the shapes that grow.
    """

    shape: Literal["constant", "linear", "cubic"] = "cubic"
    start_step: int = 0
    end_step: int = 1
    interval: int = 1
    initial: float = 0.0

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
