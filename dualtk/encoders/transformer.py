"""Transformer encoder of a transducer (Zhang et al. 2020; Yeh et al. 2019) with dual-mode layers.

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from dualtk.encoders.stacked import StackedEncoder
from dualtk.encoders.transformer_stack import transformer_stack
from dualtk.nn.attention import Positions
from dualtk.nn.subsampling import SubsamplingKind, make_subsampling


def transformer_encoder(
    *,
    input_dim: int,
    dim: int,
    num_layers: int,
    num_heads: int,
    feedforward_dim: int,
    dropout: float,
    mode_names: Sequence[str],
    subsampling: SubsamplingKind = "stacking",
    subsampling_factor: int = 3,
    subsampling_channels: int = 64,
    positions: Positions = "rotary",
    output_projection: bool = True,
    checkpoint: bool = False,
) -> StackedEncoder:
    """Stacked frames or convolution subsampling, then Transformer blocks and a norm.

    Without `output_projection` the heads go straight into the residual connection. Kojima (2021) writes the projection
    (equation 4), but its size of 13.3 M is met without it only, and its head distillation compares heads after the
    residual connection, which stay apart only so.

    Args:
        input_dim: features per frame.
        dim: width of the blocks.
        num_layers: blocks.
        num_heads: attention heads; they divide `dim`.
        feedforward_dim: inner width of the feed-forward branches.
        dropout: of every residual branch, and inside the feed-forward.
        mode_names: modes that own a set of norms.
        subsampling: `stacking` of `subsampling_factor` frames, or `convolution` by 4.
        subsampling_factor: feature frames per output frame.
        subsampling_channels: of the convolution front end.
        positions: `relative` (Zhang et al. 2020), `rotary` (no parameters), or `none`.
        output_projection: project the concatenated heads.
        checkpoint: recompute blocks in the backward pass to save memory.
    """
    front = make_subsampling(
        subsampling, input_dim=input_dim, output_dim=dim, channels=subsampling_channels, factor=subsampling_factor
    )
    stack = transformer_stack(
        dim=dim,
        num_layers=num_layers,
        num_heads=num_heads,
        feedforward_dim=feedforward_dim,
        dropout=dropout,
        mode_names=mode_names,
        positions=positions,
        output_projection=output_projection,
        checkpoint=checkpoint,
    )
    return StackedEncoder(
        front, stack, input_dim=input_dim, output_dim=dim, subsampling=subsampling_factor, dropout=dropout
    )
