"""Parts of a network that first stay as they were loaded.

wav2vec 2.0 (Baevski et al. 2020, section 4.3) fine-tunes with its feature encoder held, and for the first 10,000 steps
the Transformer too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import nn

from dualtk.errors import InputError
from dualtk.options import Section, Unit


class FreezeOptions(Section):
    """A part of the network that first stays as it was loaded, all of it.

    Parts may lie inside each other: a parameter waits for the longest. Only parameters are held: the statistics of
    batch norms in the part follow the data all the while.
    """

    module: Annotated[str, Field(min_length=1)]
    """Which, such as `encoder.extractor`."""
    steps: Annotated[PositiveInt, Unit("steps")] | None = None
    """For how long; null is to the end."""


class Freezing:
    """Which parameters take no part in a step: a function of the step, so that resuming needs no state of it.

    Parameters are held, and with them their moments and weight decay; statistics of batch norms follow the data.

    Args:
        network: holds the parts.
        parts: what is held, and for how long.

    Raises:
        InputError: the network has no such part, or nothing is left to train.
    """

    def __init__(self, network: nn.Module, parts: Sequence[FreezeOptions]) -> None:
        steps: dict[nn.Parameter, float] = {}
        modules = dict(network.named_modules())
        for index, part in enumerate(parts):
            held = list(modules[part.module].parameters()) if part.module in modules else []
            if not held:
                raise InputError(f"init.freeze.{index}.module: the network has no parameters in {part.module}")
            for parameter in held:
                steps[parameter] = max(steps.get(parameter, 0), math.inf if part.steps is None else part.steps)
        if all(parameter in steps or not parameter.requires_grad for parameter in network.parameters()):
            raise InputError("init.freeze: nothing of the network is left to train")
        self.steps = {parameter: until for parameter, until in steps.items() if parameter.requires_grad}

    def held(self, step: int) -> int:
        """How many parameters `step` leaves alone; it never grows."""
        return sum(step < until for until in self.steps.values())

    def apply(self, step: int) -> None:
        """Let gradients reach exactly what `step` trains."""
        for parameter, until in self.steps.items():
            parameter.requires_grad_(step >= until)
