"""Self-pruning: masks of the sparse modes that follow the shared weights and a schedule during training.

"Learning a Dual-Mode Speech Recognition Model via Self-Pruning" (Liu et al. 2022): the streaming passes use masked
weights, the full-context pass the dense ones, and both train them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import model_validator
from torch import Tensor, nn

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.options import Section
from dualtk.pruning.masks import Scope, add_masks, magnitude_masks, masks_of, prunable_layers
from dualtk.pruning.patterns import Pattern, parse_pattern, require_reach
from dualtk.pruning.schedule import SparsitySchedule


class Pruner:
    """Draws the masks of a network's sparse modes.

    The network has been given its masks by `add_masks`; here they change in place. Modes of a larger sparsity keep
    a part of what those of a smaller one keep.

    Args:
        network: holds the layers and, as buffers, the masks.
        modes: all modes; the sparse ones are masked.
        pattern: what is masked together.
        scope: among which layers weights are ranked.
        schedule: when, and how much.
        regrow: a weight that was masked may come back when it has grown; otherwise masks only lose weights.

    Raises:
        InputError: nothing to prune, or the pattern does not fit.
    """

    def __init__(
        self,
        network: nn.Module,
        modes: Sequence[Mode],
        pattern: Pattern,
        scope: Scope,
        schedule: SparsitySchedule,
        regrow: bool,
    ) -> None:
        self.layers = prunable_layers(network)
        self.modes = sorted((mode for mode in modes if mode.sparsity > 0), key=lambda mode: mode.sparsity)
        self.pattern = pattern
        self.scope: Scope = scope
        self.schedule = schedule
        self.regrow = regrow
        if not self.layers or not self.modes:
            raise InputError("pruning: " + ("no mode is sparse" if self.layers else "no layer can be masked"))
        for name, layer in self.layers.items():
            pattern.check(layer.weight, name)
        for mode in self.modes:
            require_reach(pattern, mode.sparsity, f"modes.{mode.name}.sparsity")
        self._found: dict[str, float] | None = None

    @property
    def settled_step(self) -> int:
        """The last step that changes the amount that is masked: networks of steps up to it have another size."""
        return self.schedule.settled_step

    def update(self, step: int) -> None:
        """Draw the masks that step `step` runs with, where the schedule says so."""
        if self.schedule.updates(step):
            self.draw(self.schedule.fraction(step))

    @torch.no_grad()
    def draw(self, fraction: float = 1.0) -> None:
        """Mask this fraction of each mode's sparsity, by the magnitudes that weights have now."""
        smaller: dict[str, Tensor] | None = None
        for mode in self.modes:
            below = smaller
            if not self.regrow:
                own = self.masks(mode.name)
                below = own if smaller is None else {name: own[name] & smaller[name] for name in own}
            smaller = magnitude_masks(self.layers, self.pattern, self.scope, fraction * mode.sparsity, below)
            for name, mask in smaller.items():
                self.layers[name].set_mask(mode.name, mask)
        self._found = None

    def masks(self, mode_name: str) -> dict[str, Tensor]:
        """The mask of each layer in a mode."""
        return masks_of(self.layers, mode_name)

    def sparsities(self) -> dict[str, float]:
        """The fraction of the prunable weights that is masked now, by mode."""
        if self._found is None:
            self._found = {mode.name: measured_sparsity(self.masks(mode.name)) for mode in self.modes}
        return self._found

    def parts(self) -> dict[str, Tensor]:
        """The same as named scalars for the log of a step."""
        return {f"{name}/sparsity": torch.tensor(value) for name, value in self.sparsities().items()}


def measured_sparsity(masks: dict[str, Tensor]) -> float:
    """Fraction of the weights that masks remove."""
    total = sum(mask.numel() for mask in masks.values())
    return 1.0 - sum(int(mask.sum()) for mask in masks.values()) / total


class PruningOptions(Section):
    """How the masks of sparse modes come about; a mode's own `sparsity` says how much is masked."""

    pattern: str = "unstructured"
    """What is masked together: `unstructured`, blocks such as `8x1` (outputs x inputs), or N:M such as `2:4`."""
    scope: Scope = "layer"
    """Among which weights magnitudes are ranked: those of a `layer`, of all layers of a `kind`, or `global`."""
    schedule: SparsitySchedule = SparsitySchedule()
    """When, and how much."""
    regrow: bool = False
    """A weight that was masked may come back when it has grown."""
    update_only_kept: bool = True
    """A sparse pass trains the weights that it keeps; otherwise all, straight through the mask."""
    sandwich: bool = False
    """A step runs the smallest, the largest and one other of the streaming passes."""

    @model_validator(mode="after")
    def _pattern_is_one(self) -> PruningOptions:
        parse_pattern(self.pattern, "pattern")
        return self

    def add_masks(self, network: nn.Module, modes: Sequence[Mode]) -> None:
        """Give the layers of `network` a mask for each sparse mode, which keeps all until training draws it."""
        add_masks(network, modes, straight_through=not self.update_only_kept)

    def build(self, network: nn.Module, modes: Sequence[Mode]) -> Pruner:
        """What draws the masks of `network`.

        Raises:
            InputError: no layer or no mode is sparse, or the pattern does not fit.
        """
        return Pruner(network, modes, parse_pattern(self.pattern), self.scope, self.schedule, self.regrow)
