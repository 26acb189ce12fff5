"""Two small passes over one ragged batch, in float64, with everything that a term may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from dualtk.distill.terms import Outcome
from dualtk.encoders.base import EncoderOutput, split_heads
from dualtk.transducer.joiner import AdditiveJoiner, Joiner, TanhJoiner
from dualtk.transducer.model import Pass
from dualtk.transducer.predicted import Predicted

BATCH, FRAMES, LABELS, DIM, VOCABULARY, HEADS = 2, 5, 3, 4, 6, 2
LENGTHS, TARGET_LENGTHS = torch.tensor([5, 3]), torch.tensor([2, 3])
TARGETS = torch.tensor([[1, 4, 0], [5, 2, 3]])
RANGES = torch.tensor([0, 0, 1, 1, 1]).view(1, FRAMES, 1).expand(BATCH, -1, -1) + torch.arange(3)


@dataclass
class Side:
    """A pass whose encoder is free numbers: (B, T, D) frames, and the vectors of two layers."""

    frames: Tensor
    layers: list[Tensor]
    predicted: Tensor
    joiner: Joiner

    def outcome(self, ranges: Tensor | None = None) -> Outcome:
        heads = [split_heads(layer, HEADS) for layer in self.layers]
        encoded = EncoderOutput(self.frames, LENGTHS, self.layers, heads)
        run = Pass(encoded, Predicted(self.predicted), self.joiner)
        return Outcome(run, lambda: run.lattice(TARGETS, TARGET_LENGTHS, ranges))

    def inputs(self) -> list[Tensor]:
        assert isinstance(self.joiner, nn.Module)
        return [self.frames, *self.layers, self.predicted, *self.joiner.parameters()]


@pytest.fixture
def make_side() -> Callable[..., Side]:
    def make(seed: int, additive: bool = False) -> Side:
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        joiner = (
            AdditiveJoiner(DIM, DIM, VOCABULARY, activation="identity", scale=None).double()
            if additive
            else TanhJoiner(DIM, DIM, joiner_dim=3, vocab_size=VOCABULARY).double()
        )

        def free(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

        layers = [free(BATCH, FRAMES, DIM), free(BATCH, FRAMES, DIM)]
        return Side(free(BATCH, FRAMES, DIM), layers, free(BATCH, LABELS + 1, DIM), joiner)

    return make
