"""The compact file of a pruned network: of a masked weight only what is kept, and where it stands.

In a safetensors file a masked weight `w` becomes `w.kept`, its remaining values in order, and `w.places`, packed bits:
one for each block of the weight (a bitmask), or for N:M the positions of the kept inputs within their group. With 8-bit
weights `w.scale` has one scale for each output. The metadata entry `dualtk_layout` says how each was packed, as JSON.

Axes: O outputs, I inputs of a weight.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualtk.errors import InputError
from dualtk.pruning.patterns import Blocks, KeepOfGroup, Pattern, parse_pattern
from dualtk.tensors import Tensors, read_safetensors, require_finite

METADATA_KEY = "dualtk_layout"
INT8_MAX = 127


def pack_bits(bits: Tensor) -> Tensor:
    """(N,) bool -> (ceil(N / 8),) uint8, the first bit the highest."""
    return torch.from_numpy(np.packbits(bits.cpu().numpy()))


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Undo `pack_bits`; a ValueError where the bytes are not those of `count` bits."""
    if packed.numel() != -(-count // 8):
        raise ValueError(f"{packed.numel()} bytes for {count} bits")
    return torch.from_numpy(np.unpackbits(packed.numpy(), count=count)).bool()


def _position_bits(pattern: KeepOfGroup) -> int:
    return (pattern.group - 1).bit_length()


def pack_mask(mask: Tensor, pattern: Pattern) -> Tensor:
    """Where an (O, I) mask keeps weights, as packed bits; the mask is one that `pattern` makes at full sparsity."""
    if isinstance(pattern, KeepOfGroup):
        positions = mask.view(-1, pattern.group).nonzero()[:, 1:]
        shifts = torch.arange(_position_bits(pattern) - 1, -1, -1)
        return pack_bits(((positions >> shifts) & 1).bool().flatten())
    assert isinstance(pattern, Blocks)
    return pack_bits(mask[:: pattern.height, :: pattern.width].flatten())


def unpack_mask(places: Tensor, pattern: Pattern, shape: tuple[int, int]) -> Tensor:
    """Undo `pack_mask`."""
    size = torch.zeros(shape)
    if isinstance(pattern, KeepOfGroup):
        groups, bits = size.numel() // pattern.group, _position_bits(pattern)
        flags = unpack_bits(places, groups * pattern.keep * bits).view(groups, pattern.keep, bits).long()
        positions = (flags << torch.arange(bits - 1, -1, -1)).sum(2)
        return torch.zeros(groups, pattern.group, dtype=torch.bool).scatter(1, positions, True).view(shape)
    units = len(pattern.scores(size))
    return pattern.mask(size, ~unpack_bits(places, units))


def packing_of(mask: Tensor, pattern: Pattern) -> Pattern:
    """The most compact layout that holds `mask`: that of its pattern, or a bit for each weight."""
    if isinstance(pattern, KeepOfGroup):
        fits = mask.shape[1] % pattern.group == 0 and bool((mask.view(-1, pattern.group).sum(1) == pattern.keep).all())
        return pattern if fits else Blocks()
    if unpack_mask(pack_mask(mask, pattern), pattern, (mask.shape[0], mask.shape[1])).equal(mask):
        return pattern
    return Blocks()


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(O, I) -> 8-bit weights (O, I) and their scales (O,), as the compiled step quantises them."""
    scales = (weight.abs().amax(1) / INT8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight / scales.unsqueeze(1)).round().to(torch.int8), scales


def pack(
    tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], pattern: Pattern, int8: Collection[str] = ()
) -> tuple[Tensors, dict[str, str]]:
    """Leave out what masks remove.

    Args:
        tensors: the network's tensors by key.
        masks: (O, I) bool masks by the key of their weight.
        pattern: that made the masks.
        int8: keys of weights (O, I) to store in 8 bits.

    Returns:
        The tensors and the metadata of a safetensors file that `unpack` reads.
    """
    packed: Tensors = {}
    layout: dict[str, Any] = {}
    for key, value in tensors.items():
        if key not in masks and key not in int8:
            packed[key] = value
            continue
        mask = masks.get(key)
        fitting = Blocks() if mask is None else packing_of(mask, pattern)
        layout[key] = {"shape": list(value.shape), "pattern": str(fitting), "masked": mask is not None}
        if mask is not None:
            value = value * mask
            packed[f"{key}.places"] = pack_mask(mask, fitting)
        if key in int8:
            value, packed[f"{key}.scale"] = quantize(value)
        packed[f"{key}.kept"] = value.flatten() if mask is None else value[mask]
    return packed, {METADATA_KEY: json.dumps(layout)} if layout else {}


def unpack(tensors: Tensors, metadata: Mapping[str, str], source: str) -> Tensors:
    """The dense tensors of a file that `pack` made, zeros where weights were left out; others stay as they are.

    Raises:
        InputError: the layout does not fit the tensors; `source` names the file.
    """
    if METADATA_KEY not in metadata:
        return tensors
    whole = dict(tensors)
    for key, one in json.loads(metadata[METADATA_KEY]).items():
        try:
            shape = (int(one["shape"][0]), int(one["shape"][1]))
            kept = whole.pop(f"{key}.kept")
            mask = torch.ones(shape, dtype=torch.bool)
            if one["masked"]:
                mask = unpack_mask(whole.pop(f"{key}.places"), parse_pattern(one["pattern"]), shape)
            if kept.numel() != int(mask.sum()):
                raise ValueError(f"{kept.numel()} weights in {int(mask.sum())} places")
            weight = torch.zeros(shape).masked_scatter(mask, kept.float())
            if f"{key}.scale" in whole:
                weight = weight * whole.pop(f"{key}.scale").unsqueeze(1)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{source}: {key}: its packed layout is damaged: {error}") from error
        whole[key] = weight
    return whole


def read_tensors(path: Path) -> Tensors:
    """The tensors of a safetensors file; those of a compact one (`dualtk extract`) are made dense.

    Raises:
        InputError: no such file, a damaged one, or one with a value that is not finite.
    """
    tensors, metadata = read_safetensors(path)
    return require_finite(unpack(tensors, metadata, str(path)), path)
