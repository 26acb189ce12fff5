"""Transformer encoder of a transducer (Zhang et al. 2020; Yeh et al. 2019) with dual-mode layers.

Axes: B batch, T feature frames, T' output frames, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import PositiveInt
from torch.nn import functional

from dualtk.encoders.stack import BlockStack
from dualtk.encoders.stacked import StackedOptions
from dualtk.encoders.transformer_block import transformer_stack
from dualtk.nn.attention import Positions
from dualtk.nn.subsampling import SubsamplingKind
from dualtk.options import Depth, Unit


class TransformerOptions(StackedOptions):
    """Stacked frames or convolution subsampling, then Transformer blocks and a norm.

    Without `output_projection` the heads go straight into the residual connection. Kojima (2021) writes the projection
    (equation 4), but its size of 13.3 M is met without it only, and its head distillation compares heads after the
    residual connection, which stay apart only so.
    """

    name: Literal["transformer"]
    """Which encoder."""
    num_layers: Depth = 10
    """Blocks."""
    feedforward_dim: PositiveInt = 2048
    """Inner width of the feed-forward branches."""
    subsampling: SubsamplingKind = "stacking"
    """`stacking` of `subsampling_factor` frames, or `convolution`."""
    subsampling_factor: Annotated[PositiveInt, Unit("feature frames")] = 3
    """Feature frames of one encoder frame; 4 or 8 for `convolution`."""
    positions: Positions = "rotary"
    """What attention knows of the order of frames: `relative` (Zhang et al. 2020), `rotary` (no parameters), `none`."""
    output_projection: bool = True
    """Project the concatenated heads."""

    def build_stack(self, mode_names: Sequence[str]) -> BlockStack:
        """See `StackedOptions`."""
        return transformer_stack(
            self.num_layers,
            dim=self.dim,
            num_heads=self.num_heads,
            positions=self.positions,
            mode_names=mode_names,
            pre_norm=True,
            output_projection=self.output_projection,
            gradient_checkpointing=self.gradient_checkpointing,
            feedforward_dim=self.feedforward_dim,
            dropout=self.dropout,
            activation=functional.relu,
        )
