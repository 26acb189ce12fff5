"""How far a run is: all that a checkpoint must say besides weights and the optimiser's moments."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Where training stands.

    Attributes:
        step: optimiser steps taken.
        epoch, batch: the next batch to take.
        bad_steps: steps in a row that were skipped for a loss or gradient that is not finite.
        best: (choice loss, step) of the networks that are kept, best first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    bad_steps: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)
