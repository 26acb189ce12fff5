"""The contract of an encoder: feature frames in, fewer and wider frames out, in any mode, whole or chunk by chunk.

Three properties hold for every encoder and mode: chunk by chunk equals the masked whole utterance; no output depends
on an input after its right edge; padding a batch changes no valid frame.

Axes: B batch, T feature frames, T' output frames, F features, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.masks import padding_mask
from dualtk.nn.state import Spec, State

__all__ = [
    "Encoder",
    "EncoderOutput",
    "PaddedFeatures",
    "Spec",
    "State",
    "output_frames",
    "pad_features",
    "require_streaming",
    "split_heads",
    "zero_state",
]


@dataclass
class EncoderOutput:
    """What an encoder returns; frames beyond each length are undefined.

    Attributes:
        frames: (B, T', D).
        lengths: (B,) int64, ceil(T / subsampling).
        hidden: per block (B, T', D), its output.
        heads: per block (B, H, T', D/H), the slices of the frames after the residual connection of the attention
            (Kojima 2021, equation 7); only when asked for.
    """

    frames: Tensor
    lengths: Tensor
    hidden: list[Tensor] = field(default_factory=list)
    heads: list[Tensor] = field(default_factory=list)

    def crop(self, num_frames: int) -> EncoderOutput:
        """Without the output frames beyond `num_frames`, which only padding made."""
        return EncoderOutput(
            self.frames[:, :num_frames],
            self.lengths,
            [frames[:, :num_frames] for frames in self.hidden],
            [frames[:, :, :num_frames] for frames in self.heads],
        )


class Encoder(Protocol):
    """What a transducer needs of an encoder."""

    input_dim: int
    output_dim: int
    subsampling: int

    def __call__(self, feats: Tensor, lengths: Tensor, mode: Mode, return_heads: bool = False) -> EncoderOutput:
        """Whole utterances: (B, T, F) normalised features and their (B,) lengths."""

    def state_spec(self, mode: Mode) -> Spec:
        """Names and shapes of the state of one stream, without B. With left_context None they are those at the start
        of the stream: keys and values then grow by a chunk with every step."""

    def init_state(self, batch: int, mode: Mode) -> State:
        """The start of `batch` streams: zeros."""

    def step(self, chunk: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, mode.chunk * subsampling, F) -> frames (B, mode.chunk, D) and the next state."""


@dataclass(frozen=True)
class PaddedFeatures:
    """Utterances padded with zero features to whole chunks, as a stream that is flushed would be.

    Attributes:
        feats: (B, T, F), zeros beyond each utterance's length.
        num_frames: output frames of the longest utterance.
        lengths: (B,) output frames of each, ceil(T / subsampling).
        visible: (B,) output frames of each with its padding to whole chunks; equal to `lengths` in full context.
    """

    feats: Tensor
    num_frames: int
    lengths: Tensor
    visible: Tensor

    def crop(self, frames: Tensor) -> Tensor:
        """Drop the output frames (B, T', D) that only padding made."""
        return frames[:, : self.num_frames]


def output_frames(lengths: Tensor, subsampling: int, mode: Mode) -> tuple[Tensor, Tensor]:
    """Of (B,) lengths in features: (B,) output frames of each, and those with its padding to whole chunks."""
    own = torch.div(lengths + subsampling - 1, subsampling, rounding_mode="floor")
    return own, torch.div(own + mode.chunk - 1, mode.chunk, rounding_mode="floor") * mode.chunk


def pad_features(feats: Tensor, lengths: Tensor, subsampling: int, mode: Mode) -> PaddedFeatures:
    """Zero what lies beyond each length, and pad with zeros to whole output frames and chunks."""
    output_lengths, visible = output_frames(lengths, subsampling, mode)
    num_features = feats.shape[1]
    feats = feats.masked_fill(~padding_mask(lengths, num_features).unsqueeze(2), 0.0)
    feats = F.pad(feats, (0, 0, 0, -num_features % (subsampling * mode.chunk)))
    return PaddedFeatures(feats, (num_features + subsampling - 1) // subsampling, output_lengths, visible)


def zero_state(spec: Spec, batch: int, like: Tensor) -> State:
    """The start of `batch` streams with this spec, on the device of `like`."""
    return {name: torch.zeros(batch, *shape, device=like.device) for name, shape in spec.items()}


def require_streaming(mode: Mode) -> None:
    """Refuse to stream in a mode that needs the whole utterance."""
    if mode.full_context:
        raise InputError(f"mode {mode.name}: a full-context mode needs the whole utterance and cannot be streamed")


def split_heads(frames: Tensor, num_heads: int) -> Tensor:
    """(B, T', D) -> (B, H, T', D/H), the slices of each frame."""
    return frames.view(*frames.shape[:2], num_heads, -1).transpose(1, 2)  # (B, T', H, D/H) -> (B, H, T', D/H)
