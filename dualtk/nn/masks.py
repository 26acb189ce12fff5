"""Which frames exist, and which frames a frame may attend to.

Axes: B batch, T frames.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dualtk.modes import Mode

MASKED = -1e4
"""Added to the score of a key that must not be seen. Finite, so that a row without keys stays finite too, and small
enough for half precision; exp(MASKED) is exactly zero in float32."""


def padding_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,) lengths -> (B, T) bool, True on the frames that exist."""
    return torch.arange(num_frames, device=lengths.device) < lengths.unsqueeze(1)


def context_mask(num_frames: int, mode: Mode, device: torch.device) -> Tensor:
    """(T, T) bool, True where the frame of the row may see the frame of the column (Dual-mode ASR, figure 3)."""
    if mode.full_context:
        return torch.ones(num_frames, num_frames, dtype=torch.bool, device=device)
    frame = torch.arange(num_frames, device=device)
    start = torch.div(frame, mode.chunk, rounding_mode="floor") * mode.chunk
    visible = frame < (start + mode.chunk).unsqueeze(1)
    if mode.left_context is not None:
        visible = visible & (frame >= (start - mode.left_context).unsqueeze(1))
    return visible


def attention_mask(lengths: Tensor, num_frames: int, mode: Mode) -> Tensor:
    """Padding and context together, to be added to the scores: (B, 1, T, T) float, 0 or `MASKED`."""
    visible = context_mask(num_frames, mode, lengths.device) & padding_mask(lengths, num_frames).unsqueeze(1)
    return torch.zeros(visible.shape, device=lengths.device).masked_fill(~visible, MASKED).unsqueeze(1)


def cache_mask(num_valid: Tensor, num_cached: int, chunk: int) -> Tensor:
    """Mask of one step: the newest `num_valid` cached frames and the chunk itself are seen.

    Args:
        num_valid: (B, 1) float, frames of the cache that have been written since the start of the stream.
        num_cached: frames in the cache, oldest first.
        chunk: frames that are decided in this step.

    Returns:
        (B, 1, 1, num_cached + chunk) float, 0 or `MASKED`.
    """
    age = torch.arange(num_cached, 0, -1, device=num_valid.device)
    hidden = (age > num_valid).to(num_valid.dtype) * MASKED
    return F.pad(hidden, (0, chunk))[:, None, None]
