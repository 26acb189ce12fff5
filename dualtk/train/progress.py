"""How far a run is: all that a checkpoint must say besides weights and the optimiser's moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Where training stands.

    Attributes:
        step: optimiser steps taken.
        epoch: which one.
        batch: how many of its batches all processes together have taken.
        processes: for which its order is made; 0: not begun.
        bad_steps: steps in a row that were skipped for a loss or gradient that is not finite.
        validated: the last step that was validated, -1 before the first.
        best: (choice loss, step) of the networks that are kept, best first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    processes: int = 0
    bad_steps: int = 0
    validated: int = -1
    best: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def of(cls, saved: Mapping[str, Any], processes: int) -> Progress:
        """What a training state says; one that was saved before validations were noted had none outstanding, and one
        that does not say for how many processes counted the batches of each of those there are.
        """
        best = [(float(loss), int(step)) for loss, step in saved["best"] if math.isfinite(loss)]
        before = {"validated": saved["step"]}
        if "processes" not in saved:
            before |= {"processes": processes}
            saved = {**saved, "batch": saved["batch"] * processes}
        return cls(**{**before, **saved, "best": best})
