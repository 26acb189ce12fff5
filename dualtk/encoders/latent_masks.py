"""Masks of latent frames in fine-tuning (wav2vec 2.0, Baevski et al. 2020, section 4.3 and appendix B).

Axes: B batch, T' output frames, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from dualtk.errors import InputError
from dualtk.nn.spans import SpanMask
from dualtk.options import Probability, Section, Unit


class LatentMaskOptions(Section):
    """Spans of encoder frames and of channels that fine-tuning hides (wav2vec 2.0, section 4.3)."""

    time_probability: Probability = 0.05
    """Of a frame to begin a span."""
    time_width: Annotated[PositiveInt, Unit("encoder frames")] = 10
    """Frames of a span."""
    channel_probability: Probability = 0.008
    """Of a channel to begin a span."""
    channel_width: Annotated[PositiveInt, Unit("channels")] = 64
    """Channels of a span, at most the width of the encoder."""


@dataclass(frozen=True)
class HiddenLatents:
    """What is hidden of a batch.

    Attributes:
        frames: (B, T') bool.
        channels: (B, D) bool, in all frames of the utterance.
    """

    frames: Tensor
    channels: Tensor


class LatentMasks(nn.Module):
    """SpecAugment for what the context network reads: spans of frames become one trained vector, of channels zero.

    The numbers follow from the seed that torch was last given and from T'. The trainer gives one before every step, so
    that all passes of a step are given the same masks, whatever else they draw, and a run that goes on repeats them;
    batches accumulated into one step share them where T' is the same. A loop that never seeds would never vary them.

    Where the paper says outputs of the feature encoder, these are masked after their projection, as its authors'
    implementation does it, and as pre-training does here: the vector is the one that it learnt.

    Args:
        dim: D.
        time_probability: of a frame to begin a span.
        time_width: frames of a span.
        channel_probability: of a channel to begin a span.
        channel_width: channels of a span, at most D.

    Raises:
        InputError: one of them is out of its range.
    """

    def __init__(
        self,
        dim: int,
        *,
        time_probability: float,
        time_width: int,
        channel_probability: float,
        channel_width: int,
    ) -> None:
        super().__init__()
        if channel_width > dim:
            raise InputError(f"latent_masks: channel_width: spans of {channel_width} do not fit into {dim} channels")
        self.embedding = nn.Parameter(torch.rand(dim))
        self.time = SpanMask(time_probability, time_width, always=False)
        self.channels = SpanMask(channel_probability, channel_width, always=False)

    def draw(self, lengths: Tensor, num_frames: int) -> HiddenLatents:
        """What this step hides of utterances with (B,) output frames, the longest of `num_frames`."""
        # Multiplied, so that no step's generator repeats the numbers that dropout and features were given.
        seed = (torch.initial_seed() * 1_000_003 + num_frames) % 2**63
        generator = torch.Generator().manual_seed(seed)
        dim = len(self.embedding)
        return HiddenLatents(
            self.time.draw(lengths, num_frames, generator),
            self.channels.draw(torch.full_like(lengths, dim), dim, generator),
        )

    def forward(self, projected: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """Mask (B, T', D) in training, leave it as it is in evaluation.

        Args:
            projected: may have frames beyond `num_frames`, which fill the last chunk; no time mask reaches them.
            lengths: (B,) output frames of each utterance.
            num_frames: output frames of the longest, the same in every mode.
        """
        if not self.training:
            return projected
        hidden = self.draw(lengths, num_frames)
        frames = functional.pad(hidden.frames, (0, projected.shape[1] - num_frames)).unsqueeze(2)
        masked = torch.where(frames, self.embedding.to(projected.dtype), projected)
        return masked.masked_fill(hidden.channels.unsqueeze(1), 0.0)

    def extra_repr(self) -> str:
        """The spans, for `print(network)`."""
        return f"time={self.time}, channels={self.channels}"
