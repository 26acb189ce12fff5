"""Random spans along an axis: of frames or of channels (wav2vec 2.0, section 3.1).

Axes: B batch, N positions of the axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.errors import InputError
from dualtk.nn.masks import padding_mask


def uniform(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Numbers in [0, 1) on `device`: from its own global state, or from a generator wherever that lives."""
    if generator is None:
        return torch.rand(shape, device=device)
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def uniform_integers(numbers: Tensor, count: Tensor) -> Tensor:
    """Numbers in [0, 1) -> integers in [0, count); 0 where the count is 0."""
    # Rounding may lift a product to the count itself.
    return torch.minimum((numbers * count).long(), count - 1).clamp(min=0)


@dataclass(frozen=True)
class SpanMask:
    """Draws spans of positions; they may overlap.

    Attributes:
        probability: of a position to begin a span (p in the paper).
        length: positions of a span (M in the paper); spans are cut at the end of the axis.
        always: a row of at least one span's length has at least one span, whatever chance says.

    Raises:
        InputError: one of them is out of its range.
    """

    probability: float
    length: int
    always: bool

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0 or self.length < 1:
            raise InputError(
                f"masking: probability lies in [0, 1] and length is at least 1, not {self.probability}, {self.length}"
            )

    def draw(self, lengths: Tensor, num_positions: int, generator: torch.Generator | None = None) -> Tensor:
        """(B,) lengths -> (B, N) bool, True on masked positions.

        A row shorter than a span has none. A position with at least `length` - 1 positions before it is masked with
        probability 1 - (1 - probability) ** length, but for `always`.
        """
        numbers = uniform((len(lengths), num_positions + 1), lengths.device, generator)
        starts = (numbers[:, :-1] < self.probability) & padding_mask(lengths, num_positions)
        if self.always:
            # The last number says where the span begins of a row that chance left without one.
            forced = uniform_integers(numbers[:, -1], lengths - self.length + 1).unsqueeze(1)
            positions = torch.arange(num_positions, device=lengths.device)
            starts = starts | (~starts.any(1, keepdim=True) & (positions == forced))
        begun = (starts & (lengths >= self.length).unsqueeze(1)).long().cumsum(1)
        ended = torch.cat([begun.new_zeros(len(lengths), self.length), begun], dim=1)[:, :num_positions]
        return (begun > ended) & padding_mask(lengths, num_positions)
