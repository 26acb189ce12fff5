"""Span masking: which frames the context network must guess (wav2vec 2.0, section 3.1).

Axes: B batch, T' frames of the encoder, M masked frames of the utterance that has most, D width.
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
    """Draws spans of frames; they may overlap.

    Attributes:
        probability: of a frame to begin a span (p in the paper).
        length: frames of a span (M in the paper); spans are cut at the end of the utterance.

    Raises:
        InputError: one of them is out of its range.
    """

    probability: float = 0.065
    length: int = 10

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0 or self.length < 1:
            raise InputError(
                f"masking: probability lies in [0, 1] and length is at least 1, not {self.probability}, {self.length}"
            )

    def draw(self, lengths: Tensor, num_frames: int, generator: torch.Generator | None = None) -> Tensor:
        """(B,) lengths -> (B, T') bool, True on masked frames.

        An utterance of at least one span's length has at least one span; a shorter one has none. A frame with at
        least `length` - 1 frames before it is masked with probability 1 - (1 - probability) ** length, but for that.
        """
        numbers = uniform((len(lengths), num_frames + 1), lengths.device, generator)
        starts = (numbers[:, :-1] < self.probability) & padding_mask(lengths, num_frames)
        # The last number says where the span begins of an utterance that chance left without one.
        forced = uniform_integers(numbers[:, -1], lengths - self.length + 1).unsqueeze(1)
        alone = ~starts.any(1, keepdim=True) & (torch.arange(num_frames, device=lengths.device) == forced)
        begun = ((starts | alone) & (lengths >= self.length).unsqueeze(1)).long().cumsum(1)
        ended = torch.cat([begun.new_zeros(len(lengths), self.length), begun], dim=1)[:, :num_frames]
        return (begun > ended) & padding_mask(lengths, num_frames)


def mask_rate(mask: Tensor, lengths: Tensor) -> Tensor:
    """Part of the frames that exist which `mask` (B, T') hides."""
    return mask.sum() / lengths.sum().clamp(min=1)


@dataclass(frozen=True)
class MaskedFrames:
    """The masked frames of each utterance, side by side.

    Attributes:
        index: (B, M) int64, the frame; 0 where there is none.
        valid: (B, M) bool, whether there is one.
    """

    index: Tensor
    valid: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> MaskedFrames:
        """Those of a (B, T') mask; an utterance's only masked frame is left out, as nothing can be told from it."""
        counts = mask.sum(1)
        counts = counts.masked_fill(counts == 1, 0)
        num_masked = int(counts.max()) if len(counts) else 0
        valid = padding_mask(counts, num_masked)
        index = mask.long().argsort(dim=1, descending=True, stable=True)[:, :num_masked]
        return cls(index.masked_fill(~valid, 0), valid)

    def take(self, frames: Tensor) -> Tensor:
        """(B, T', D) -> (B, M, D); where there is no masked frame, the utterance's first."""
        return frames.gather(1, self.index.unsqueeze(2).expand(-1, -1, frames.shape[2]))
