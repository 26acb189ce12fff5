"""Variational noise: steps run with noisy weights, and the optimiser moves the weights without it.

Graves (2011, "Practical variational inference for neural networks"), with one fixed deviation. ContextNet (Han
et al. 2020) and the Conformer (Gulati et al. 2020) have it and do not say how much; the LibriSpeech recipes of Lingvo,
in which they were written, have the defaults below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import nn

from dualtk.errors import InputError
from dualtk.options import Section, Unit


class WeightNoiseOptions(Section):
    """Gaussian noise on the weights of each step, from a step on; matrices only, neither norms nor biases."""

    std: PositiveFloat = 0.075
    """Its standard deviation."""
    start_step: Annotated[NonNegativeInt, Unit("steps")] = 20000
    """Before, there is none."""
    modules: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Parts of the network, such as `predictor`; null for all of it."""


class WeightNoise:
    """The noise of a run: a function of seed and step, the same on every process and after a run was continued.

    Args:
        network: holds the weights.
        options: how much, from when on, and where; None: none at all.
        seed: of the draws.

    Raises:
        InputError: the network has no such part.
    """

    def __init__(self, network: nn.Module, options: WeightNoiseOptions | None, seed: int) -> None:
        self.options = options
        self.seed = seed
        self.weights: list[nn.Parameter] = []
        if options is None:
            return
        modules = dict(network.named_modules())
        for name in options.modules or ("",):
            if not _matrices(modules.get(name)):
                raise InputError(f"train.weight_noise.modules: the network has no weights in {name}")
        parts = [modules[name] for name in options.modules or ("",)]
        self.weights = list(dict.fromkeys(weight for part in parts for weight in _matrices(part)))

    @contextmanager
    def added(self, step: int) -> Iterator[None]:
        """Weights are noisy inside, and are what they were afterwards, to the bit."""
        if self.options is None or step < self.options.start_step:
            yield
            return
        noisy = [weight for weight in self.weights if weight.requires_grad]  # what is held has no noise
        kept = [weight.detach().clone() for weight in noisy]
        # Not the generator of dropout, which differs from process to process: weights have to be equal on all.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        with torch.no_grad():
            for weight in noisy:
                noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
                weight.add_(noise.to(weight), alpha=self.options.std)
        try:
            yield
        finally:
            _restore(noisy, kept)


def _matrices(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else [parameter for parameter in module.parameters() if parameter.dim() > 1]


@torch.no_grad()
def _restore(weights: Sequence[nn.Parameter], kept: Sequence[torch.Tensor]) -> None:
    for weight, value in zip(weights, kept):
        weight.copy_(value)
