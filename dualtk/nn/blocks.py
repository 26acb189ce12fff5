"""The residual branches of Conformer and Transformer blocks: each is norm, mixing, dropout; the caller adds.

Without mode names feed-forward and attention have no norm: the caller's stand after its additions.

Axes: B batch, T frames, D width, H heads, E width of one head, K cached and new keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.nn.attention import KeysValues, Positions, attend, attend_cached, relative_scores, rotate
from dualtk.nn.dropout import Dropout
from dualtk.nn.dual import DualConv1d, DualNorm, NormKind, optional_norm
from dualtk.nn.masked import MaskedLinear
from dualtk.nn.state import Spec, State

Activation = Callable[[Tensor], Tensor]


class FeedForward(nn.Module):
    """norm, linear, activation, dropout, linear, dropout (Gulati et al. 2020, figure 4; Vaswani et al. 2017)."""

    def __init__(
        self, dim: int, feedforward_dim: int, dropout: float, mode_names: Sequence[str], activation: Activation = F.silu
    ) -> None:
        super().__init__()
        self.norm = DualNorm("layer", dim, mode_names) if mode_names else None
        self.input = MaskedLinear(dim, feedforward_dim)
        self.output = MaskedLinear(feedforward_dim, dim)
        self.dropout = Dropout(dropout)
        self.activation = activation

    def forward(self, x: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.dropout(self.activation(self.input(optional_norm(self.norm, x, mode), mode)))
        output: Tensor = self.dropout(self.output(hidden, mode))
        return output


class SelfAttention(nn.Module):
    """norm, multi-head self-attention, dropout (Gulati et al. 2020, figure 3).

    positions: `relative` is Transformer-XL's (content and position bias, projected sinusoids), `rotary` turns queries
    and keys, `none` leaves the order of frames to the convolutions. Without `output_projection` the concatenated heads
    are the output. Dropout is on the branch's output only, as Gulati et al. say, not on the attention weights.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        dropout: float,
        positions: Positions,
        mode_names: Sequence[str],
        output_projection: bool,
    ) -> None:
        super().__init__()
        if dim % num_heads != 0:
            raise InputError(f"num_heads: {num_heads} heads do not divide a dim of {dim}")
        if positions != "none" and (dim // num_heads) % 2 != 0:
            raise InputError(f"num_heads: {positions} positions need heads of an even width, not {dim // num_heads}")
        self.dim = dim
        self.num_heads = num_heads
        self.positions: Positions = positions
        self.norm = DualNorm("layer", dim, mode_names) if mode_names else None
        self.input = MaskedLinear(dim, 3 * dim)
        self.output = MaskedLinear(dim, dim) if output_projection else None
        self.dropout = Dropout(dropout)
        if positions == "relative":
            self.position = MaskedLinear(dim, dim, bias=False)
            self.content_bias = nn.Parameter(torch.zeros(num_heads, 1, dim // num_heads))
            self.position_bias = nn.Parameter(torch.zeros(num_heads, 1, dim // num_heads))

    def state_spec(self, num_cached: int) -> Spec:
        """Projected keys and values of the frames before the chunk, oldest first."""
        shape = (self.num_heads, num_cached, self.dim // self.num_heads)
        return {"key": shape, "value": shape}

    def forward(self, x: Tensor, mask: Tensor, table: Tensor | None, mode: Mode) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` is added to the scores, `table` comes from `position_table`."""
        query, key, value = self._project(x, mode)
        return self._mix(query, key, value, mask, table, mode)

    def step(self, x: Tensor, state: State, mask: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D) after the cached frames; the cache keeps its size, or grows if left_context is None."""
        query, *fresh = self._project(x, mode)
        key, value = (torch.cat([state[name], new], dim=2) for name, new in zip(("key", "value"), fresh))
        drop = 0 if mode.left_context is None else x.shape[1]
        after = {"key": key[:, :, drop:], "value": value[:, :, drop:]}
        if torch.onnx.is_in_onnx_export() and state["key"].shape[2] > 0:
            return self._mix_cached(
                query, (state["key"], state["value"]), (fresh[0], fresh[1]), mask, table, mode
            ), after
        return self._mix(query, key, value, mask, table, mode), after

    def _project(self, x: Tensor, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
        projected = self.input(optional_norm(self.norm, x, mode), mode).chunk(3, dim=2)
        shape = x.shape[0], x.shape[1], self.num_heads, self.dim // self.num_heads
        query, key, value = (one.view(shape).transpose(1, 2) for one in projected)  # (B, T, H, E) -> (B, H, T, E)
        return query, key, value

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, table: Tensor | None, mode: Mode) -> Tensor:
        query, bias = self._placed(query, table, mode)
        if self.positions == "rotary":
            assert table is not None
            key = rotate(key, table)
        return self._merge_heads(attend(query, key, value, mask, bias), mode)

    def _mix_cached(
        self, query: Tensor, cached: KeysValues, fresh: KeysValues, mask: Tensor, table: Tensor | None, mode: Mode
    ) -> Tensor:
        """What `_mix` gives, of keys and values in two pieces."""
        query, bias = self._placed(query, table, mode)
        if self.positions == "rotary":
            assert table is not None
            cached = rotate(cached[0], table[:, : cached[0].shape[2]]), cached[1]
            fresh = rotate(fresh[0], table), fresh[1]
        return self._merge_heads(attend_cached(query, cached, fresh, mask, bias), mode)

    def _placed(self, query: Tensor, table: Tensor | None, mode: Mode) -> tuple[Tensor, Tensor | None]:
        """Queries that know their place, and scores of the keys' places where those are relative."""
        if self.positions == "none":
            return query, None
        assert table is not None
        if self.positions == "rotary":
            return rotate(query, table), None
        offsets = self.position(table.to(query.dtype), mode).unflatten(1, (self.num_heads, -1))
        offsets = offsets.transpose(0, 1)  # (R, H, E) -> (H, R, E)
        return query + self.content_bias, relative_scores(query + self.position_bias, offsets)

    def _merge_heads(self, heads: Tensor, mode: Mode) -> Tensor:
        mixed = heads.transpose(1, 2).flatten(2)  # (B, H, T, E) -> (B, T, D)
        output: Tensor = self.dropout(mixed if self.output is None else self.output(mixed, mode))
        return output


class ConvolutionModule(nn.Module):
    """norm, pointwise, GLU, depthwise, norm, swish, pointwise, dropout (Gulati et al. 2020, figure 2).

    In three parts, because the inner norm may be a batch norm, which must stay outside a checkpointed region:
    computing it again would move its statistics twice.
    """

    def __init__(
        self, dim: int, kernel: int, dropout: float, convolution_norm: NormKind, mode_names: Sequence[str]
    ) -> None:
        super().__init__()
        self.norm = DualNorm("layer", dim, mode_names)
        self.input = MaskedLinear(dim, 2 * dim)
        self.depthwise = DualConv1d(dim, kernel)
        self.depthwise_norm = DualNorm(convolution_norm, dim, mode_names)
        self.output = MaskedLinear(dim, dim)
        self.dropout = Dropout(dropout)

    def state_spec(self) -> Spec:
        """The gated frames before the chunk."""
        return {"convolution": (self.depthwise.left_frames, self.depthwise.channels)}

    def before_norm(self, x: Tensor, mask: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) with its (B, T) bool mask -> (B, T, D), up to the depthwise convolution."""
        gated = F.glu(self.input(self.norm(x, mode), mode), dim=-1)
        output: Tensor = self.depthwise(gated.masked_fill(~mask.unsqueeze(2), 0.0), mode)
        return output

    def after_norm(self, x: Tensor, mode: Mode) -> Tensor:
        """(B, T, D) -> (B, T, D), from the swish on."""
        output: Tensor = self.dropout(self.output(F.silu(x), mode))
        return output

    def step(self, x: Tensor, state: State, mode: Mode) -> tuple[Tensor, State]:
        """One chunk (B, C, D) after the gated frames that `state` remembers."""
        gated = F.glu(self.input(self.norm(x, mode), mode), dim=-1)
        mixed, left = self.depthwise.step(gated, state["convolution"], mode)
        return self.after_norm(self.depthwise_norm(mixed, mode), mode), {"convolution": left}
