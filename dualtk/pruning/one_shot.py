"""The masks of one mode of a trained network: those of its training, or new ones in one shot by magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.pruning.masks import magnitude_masks, masks_of, prunable_layers
from dualtk.pruning.patterns import Pattern, parse_pattern, require_reach
from dualtk.pruning.pruner import PruningOptions, measured_sparsity


@dataclass(frozen=True)
class Masks:
    """Masks by layer, what they mask together, and whether training made them."""

    by_layer: dict[str, Tensor]
    pattern: Pattern
    trained: bool


def choose_masks(
    network: nn.Module, mode: Mode, training: PruningOptions, sparsity: float | None, pattern: str | None
) -> Masks:
    """Those of training where they have the wanted sparsity; else new ones by magnitude, inside those of training where
    they remove less than is wanted.

    Args:
        network: with the masks of its training.
        mode: of the network.
        training: how its masks came about.
        sparsity: fraction of the prunable weights to leave out; None: that of the mode.
        pattern: of masks in one shot; None: that of training.

    Raises:
        InputError: a sparsity or a pattern that cannot be, or masks that are asked for as trained and unfinished.
    """
    wanted = mode.sparsity if sparsity is None else sparsity
    if not 0.0 <= wanted < 1.0:
        raise InputError(f"--sparsity: must lie in [0, 1), not {wanted}")
    layers = prunable_layers(network)
    if wanted > 0 and not layers:
        raise InputError("--sparsity: no layer of the network can be masked")
    own = parse_pattern(training.pattern)
    chosen = own if pattern is None else parse_pattern(pattern, "--pattern")
    require_reach(chosen, wanted, "--sparsity" if pattern is None else "--pattern")
    for name, layer in layers.items():
        chosen.check(layer.weight, name, "--pattern")
    if wanted == mode.sparsity == 0:
        return Masks({}, chosen, trained=True)
    trained = masks_of(layers, mode.name)
    reached = measured_sparsity(trained) if trained else 0.0
    inside = trained if chosen == own and wanted >= min(mode.sparsity, reached) else {}
    masks = magnitude_masks(layers, chosen, training.scope, wanted, inside or None)
    # Finished masks have the number of units that rounding gives, so that drawing inside them removes nothing more.
    finished = bool(inside) and all(torch.equal(mask, inside[name]) for name, mask in masks.items())
    if wanted == mode.sparsity and pattern is None and not finished:
        raise InputError(
            f"--sparsity: the masks of mode {mode.name} remove {100 * reached:.2f} % of the prunable weights, not yet "
            f"{100 * wanted:.2f} %: resume the training, or prune the rest in one shot by --pattern {chosen}"
        )
    return Masks(masks, chosen, finished)
