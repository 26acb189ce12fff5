"""Magnitude masks over the layers of a network.

The paper's own masks ("Learning a Dual-Mode Speech Recognition Model via Self-Pruning", Liu et al. 2022) come from the
magnitudes of the weights that both modes share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from dualtk.modes import Mode
from dualtk.nn.masked import MaskedLinear
from dualtk.pruning.patterns import Pattern, require_reach

Scope = Literal["layer", "kind", "global"]
Layers = dict[str, MaskedLinear]

GONE = -1.0  # magnitude of a weight that was removed before: less than any


def prunable_layers(network: nn.Module) -> Layers:
    """The layers that can be masked, by name."""
    return {name: one for name, one in network.named_modules() if isinstance(one, MaskedLinear)}


def masks_of(layers: Layers, mode_name: str) -> dict[str, Tensor]:
    """The masks of a mode by layer; of a dense one there are none."""
    masks = {name: layer.mask(mode_name) for name, layer in layers.items()}
    return {name: mask for name, mask in masks.items() if mask is not None}


def kind_of(name: str) -> str:
    """What a layer is, whatever its block: without the number in `encoder.stack.blocks.3.attention.input`."""
    return ".".join(part for part in name.split(".") if not part.isdigit())


def grouped(names: Iterable[str], scope: Scope) -> list[list[str]]:
    """The layers that compete for what is kept: each alone, those of a kind, or all."""
    groups: dict[str, list[str]] = {}
    for name in names:
        key = {"layer": name, "kind": kind_of(name), "global": ""}[scope]
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def add_masks(network: nn.Module, modes: Iterable[Mode], straight_through: bool) -> None:
    """Give every prunable layer a mask that keeps all, for each sparse mode; training or a checkpoint fills them."""
    names = [mode.name for mode in modes if mode.sparsity > 0]
    for layer in prunable_layers(network).values():
        layer.straight_through = straight_through
        for name in names:
            layer.set_mask(name, torch.ones(layer.weight.shape, dtype=torch.bool))


def lowest(scores: Tensor, count: int) -> Tensor:
    """(U,) -> (U,) bool, True on exactly `count` of the lowest; of equals the earlier."""
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count).values
    below, ties = scores < threshold, scores == threshold
    return below | (ties & (ties.cumsum(0) <= count - below.sum()))


def magnitude_masks(
    layers: Mapping[str, MaskedLinear],
    pattern: Pattern,
    scope: Scope,
    sparsity: float,
    below: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Masks that remove the units of least magnitude.

    Args:
        layers: the layers, by name.
        pattern: the units.
        scope: among which layers the units are ranked; each group reaches `sparsity` exactly, up to one unit.
        sparsity: fraction of the weights to remove.
        below: earlier masks; what they removed stays removed.

    Returns:
        For each layer (O, I) bool, True on the weights that are kept.

    Raises:
        InputError: more than the pattern can remove.
    """
    require_reach(pattern, sparsity)
    share = sparsity / pattern.unit_sparsity
    masks: dict[str, Tensor] = {}
    for names in grouped(layers, scope):
        magnitudes = [layers[name].weight.detach().abs() for name in names]
        if below is not None:
            magnitudes = [one.masked_fill(~below[name], GONE) for name, one in zip(names, magnitudes)]
        scores = [pattern.scores(one) for one in magnitudes]
        ranked = torch.cat(scores)
        pruned = lowest(ranked, min(round(share * len(ranked)), len(ranked)))
        units = torch.split(pruned, [len(one) for one in scores])
        for name, one, own in zip(names, magnitudes, units):
            mask = pattern.mask(one, own)
            masks[name] = mask if below is None else mask & below[name]
    return masks
