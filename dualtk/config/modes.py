"""The sections `modes` and `passes`: what the network may see, and in which modes a step runs it."""

from __future__ import annotations

from dualtk.config.section import Amount, Section
from dualtk.modes import Mode


class ModeConfig(Section):
    """What one mode may see; see `dualtk.modes.Mode` for the units."""

    full_context: bool = False
    left_context: int | None = None
    chunk: int = 1
    look_ahead: int = 0
    sparsity: float = 0.0

    def mode(self, name: str) -> Mode:
        """The mode called `name`."""
        return Mode(name, **self.arguments())


class PassConfig(Section):
    """One run of the network in each step."""

    mode: str
    weight: Amount = 1.0
