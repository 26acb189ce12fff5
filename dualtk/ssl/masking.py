"""The frames that the context network must guess; `dualtk.nn.spans` draws them (wav2vec 2.0, section 3.1).

Axes: B batch, T' frames of the encoder, M masked frames of the utterance that has most, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dualtk.nn.masks import padding_mask


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
