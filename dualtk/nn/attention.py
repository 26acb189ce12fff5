"""Attention without parameters: projected queries, keys and values in, a mask added to the scores.

It never sees a mode: what a frame may attend to is in the mask, and positions are relative, so that a cached key
needs no number (Dai et al. 2019, Transformer-XL; Su et al. 2021, RoFormer).

Axes: B batch, H heads, Q queries, K keys, D width, E width of one head. Queries are the last Q of the K frames.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Positions = Literal["relative", "rotary", "none"]
KeysValues = tuple[Tensor, Tensor]  # (B, H, K, E) each


def position_table(positions: Positions, num_queries: int, num_keys: int, dim: int, like: Tensor) -> Tensor | None:
    """The constants that every layer of an encoder shares.

    relative: (Q + K - 1, D) sinusoids of the offsets key - query, from -(K - 1) to Q - 1.
    rotary: (2, K, E) cosines and sines of the frame numbers; pass the width of one head as `dim`.
    none: None.
    """
    if positions == "none":
        return None
    half = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
    rate = torch.exp(half * (-math.log(10000.0) / dim))
    if positions == "rotary":
        frame = torch.arange(num_keys, device=like.device, dtype=torch.float32)
        angle = frame.unsqueeze(1) * rate
        angle = torch.cat([angle, angle], dim=1)
        return torch.stack([angle.cos(), angle.sin()])
    offset = torch.arange(1 - num_keys, num_queries, device=like.device, dtype=torch.float32)
    angle = offset.unsqueeze(1) * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def rotate(frames: Tensor, table: Tensor) -> Tensor:
    """Turn (B, H, T, E) by the angles of the last T rows of a rotary table (RoFormer, equation 34)."""
    cos, sin = table[:, -frames.shape[2] :].unbind(0)
    first, second = frames.chunk(2, dim=-1)
    turned: Tensor = frames * cos + torch.cat([-second, first], dim=-1) * sin
    return turned


def relative_scores(query: Tensor, offsets: Tensor) -> Tensor:
    """Score of each query for the offset of each key (Transformer-XL, appendix B).

    Args:
        query: (B, H, Q, E).
        offsets: (H, Q + K - 1, E) projected sinusoids, offset -(K - 1) first.

    Returns:
        (B, H, Q, K), unscaled.
    """
    if torch.onnx.is_in_onnx_export():
        return _shift_rows(query @ offsets.transpose(1, 2))  # (H, R, E) -> (H, E, R)
    batch, heads, num_queries, width = query.shape
    num_offsets = offsets.shape[1]
    rows = query.transpose(0, 1).reshape(heads, batch * num_queries, width)  # (B, H, Q, E) -> (H, B * Q, E)
    scores: Tensor = rows @ offsets.transpose(1, 2)  # (H, R, E) -> (H, E, R)
    # Query i needs the columns from Q - 1 - i on: one view whose rows start one column earlier each, no copy.
    size = (batch, heads, num_queries, num_offsets - num_queries + 1)
    stride = (num_queries * num_offsets, batch * num_queries * num_offsets, num_offsets - 1, 1)
    return scores.as_strided(size, stride, num_queries - 1)


def _shift_rows(scores: Tensor) -> Tensor:
    """(B, H, Q, R) -> (B, H, Q, R - Q + 1), row i from its column Q - 1 - i on: ONNX knows no views with strides."""
    num_queries, num_offsets = scores.shape[2], scores.shape[3]
    flat = F.pad(scores, (0, 1)).flatten(2)[:, :, num_queries - 1 :][:, :, : num_queries * num_offsets]
    rows = flat.reshape(scores.shape[0], scores.shape[1], num_queries, num_offsets)
    return rows[..., : num_offsets - num_queries + 1]


def attend_cached(
    query: Tensor, cached: KeysValues, fresh: KeysValues, mask: Tensor, bias: Tensor | None = None
) -> Tensor:
    """`attend` over the keys and values of a cache and those of a chunk behind it, which are not put together: the
    cache is most of what a stream remembers, and a copy of it would cost more than the attention."""
    parts = (cached, fresh)
    scores = torch.cat([query @ key.transpose(2, 3) for key, _ in parts], dim=3)  # (B, H, K, E) -> (B, H, E, K)
    scores = scores if bias is None else scores + bias
    weights = torch.softmax(torch.add(mask, scores, alpha=query.shape[-1] ** -0.5), dim=-1)
    first, second = torch.split(weights, [key.shape[2] for key, _ in parts], dim=3)
    return first @ cached[1] + second @ fresh[1]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        query: (B, H, Q, E).
        key: (B, H, K, E).
        value: (B, H, K, E).
        mask: broadcast to (B, H, Q, K) and added to the scaled scores.
        bias: (B, H, Q, K), learnt scores that are scaled with the others. Fused kernels give their mask no gradient,
            so with a bias the steps are written out.

    Returns:
        (B, H, Q, E).
    """
    if bias is None:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))
    scores = query @ key.transpose(2, 3) + bias  # (B, H, K, E) -> (B, H, E, K)
    weights = torch.softmax(torch.add(mask, scores, alpha=query.shape[-1] ** -0.5), dim=-1)
    return weights.to(value.dtype) @ value
