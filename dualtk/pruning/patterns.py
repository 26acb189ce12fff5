"""Which weights go together when they are masked: single ones, blocks, or N kept of every M.

A pattern divides a weight into units that are masked one by one, and says how little each unit would be missed.

Axes: O outputs, I inputs of a weight; U its units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from dualtk.errors import InputError

KEY = "pruning.pattern"  # what errors name where a pattern comes from a configuration


class Pattern(Protocol):
    """A way to mask a weight."""

    @property
    def unit_sparsity(self) -> float:
        """Fraction of a unit's weights that masking it removes."""

    def check(self, weight: Tensor, name: str, key: str = KEY) -> None:
        """Raise InputError, naming `key`, when a weight (O, I) cannot be divided into units."""

    def scores(self, magnitudes: Tensor) -> Tensor:
        """(O, I) -> (U,), mean magnitude of what masking each unit removes."""

    def mask(self, magnitudes: Tensor, pruned: Tensor) -> Tensor:
        """(O, I) and (U,) bool, True on the masked units -> (O, I) bool, True on the weights that are kept."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of `height` outputs and `width` inputs are masked whole; 1x1 is unstructured, and an edge cuts blocks."""

    height: int = 1
    width: int = 1

    @property
    def unit_sparsity(self) -> float:
        """A masked block is gone."""
        return 1.0

    def check(self, weight: Tensor, name: str, key: str = KEY) -> None:
        """Blocks cover any weight."""

    def scores(self, magnitudes: Tensor) -> Tensor:
        """See `Pattern.scores`."""
        if self == Blocks():
            return magnitudes.flatten()
        return (self._sums(magnitudes) / self._sums(torch.ones_like(magnitudes))).flatten()

    def _sums(self, values: Tensor) -> Tensor:
        outputs, inputs = values.shape
        padded = F.pad(values, (0, -inputs % self.width, 0, -outputs % self.height))
        blocks = padded.view(-(-outputs // self.height), self.height, -(-inputs // self.width), self.width)
        return blocks.sum((1, 3))

    def mask(self, magnitudes: Tensor, pruned: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        outputs, inputs = magnitudes.shape
        kept = ~pruned.view(-(-outputs // self.height), -(-inputs // self.width))
        kept = kept.repeat_interleave(self.height, 0).repeat_interleave(self.width, 1)
        return kept[:outputs, :inputs].contiguous()

    def __str__(self) -> str:
        return "unstructured" if self == Blocks() else f"{self.height}x{self.width}"


@dataclass(frozen=True)
class KeepOfGroup:
    """N:M, the `keep` largest of every `group` inputs of an output stay (2:4 is what GPUs multiply twice as fast)."""

    keep: int
    group: int

    @property
    def unit_sparsity(self) -> float:
        """A masked group keeps N of its M weights."""
        return 1.0 - self.keep / self.group

    def check(self, weight: Tensor, name: str, key: str = KEY) -> None:
        """Groups must fill the rows."""
        if weight.shape[1] % self.group:
            raise InputError(f"{key}: {self} needs inputs in groups of {self.group}, {name} has {weight.shape[1]}")

    def _dropped(self, groups: Tensor) -> Tensor:
        """(U, M) -> (U, M) bool, the weights that each group would lose; of equals the later go."""
        order = groups.argsort(dim=1, descending=True, stable=True)
        return torch.ones_like(groups, dtype=torch.bool).scatter(1, order[:, : self.keep], False)

    def scores(self, magnitudes: Tensor) -> Tensor:
        """See `Pattern.scores`."""
        groups = magnitudes.reshape(-1, self.group)
        return (groups * self._dropped(groups)).sum(1) / (self.group - self.keep)

    def mask(self, magnitudes: Tensor, pruned: Tensor) -> Tensor:
        """See `Pattern.mask`."""
        dropped = self._dropped(magnitudes.reshape(-1, self.group))
        return (~(dropped & pruned.unsqueeze(1))).view(magnitudes.shape)

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"


def require_reach(pattern: Pattern, sparsity: float, key: str = KEY) -> None:
    """Raise InputError, naming `key`, when `sparsity` is more than a pattern can remove."""
    if sparsity > pattern.unit_sparsity * (1.0 + 1e-6):
        raise InputError(f"{key}: {pattern} removes {pattern.unit_sparsity:g} at most, not {sparsity:g}")


def parse_pattern(text: str, key: str = KEY) -> Pattern:
    """`unstructured`, blocks such as `8x1` (outputs x inputs), or `2:4`.

    Raises:
        InputError: none of these; it names `key`.
    """
    if text == "unstructured":
        return Blocks()
    found = re.fullmatch(r"([1-9][0-9]?)([x:])([1-9][0-9]?)", text)
    if found is not None:
        first, second = int(found[1]), int(found[3])
        if found[2] == "x":
            return Blocks(first, second)
        if first < second:
            return KeepOfGroup(first, second)
    raise InputError(f"{key}: {text!r} is not unstructured, blocks such as 8x1, or N:M such as '2:4'")
