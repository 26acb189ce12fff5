"""Self-pruning: masks of the sparse modes that follow the shared weights and a schedule during training.

"Learning a Dual-Mode Speech Recognition Model via Self-Pruning" (Liu et al. 2022): the streaming passes use masked
weights, the full-context pass the dense ones, and both train them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.pruning.masks import Scope, magnitude_masks, prunable_layers
from dualtk.pruning.patterns import Pattern
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
        regrow: bool = False,
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
            if mode.sparsity > pattern.unit_sparsity + 1e-6:
                raise InputError(f"modes.{mode.name}.sparsity: {pattern} removes {pattern.unit_sparsity:g} at most")
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
        masks = {name: layer.mask(mode_name) for name, layer in self.layers.items()}
        return {name: mask for name, mask in masks.items() if mask is not None}

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
