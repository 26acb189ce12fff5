"""The reference: the recursion of Graves (2012), equations 16 to 20, in plain torch and in float64.

It walks the anti-diagonals n = t + u, on which all cells are independent, so it is short, runs on every device and
is what the other backends are compared with. A pruned lattice is first spread over all label positions.

Axes: B batch, T frames, S cells of a frame, L label positions (U + 1), N anti-diagonals (T + U).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, Cells, Occupation, Recursion


@dataclass(frozen=True)
class Arcs:
    """Where paths may go, and (bool) the last cell of each utterance: all (B, T, L), or (B, N, L)."""

    blank: Tensor
    label: Tensor
    final: Tensor


def spread(cells: Cells, value: Tensor, missing: float) -> Tensor:
    """(B, T, S) over a pruned range -> (B, T, L) over all label positions."""
    if cells.starts is None:
        return value
    num_positions = int(cells.target_lengths.max()) + 1
    width = value.shape[2]
    position = cells.starts.unsqueeze(2) + torch.arange(width, device=value.device)
    wide = value.new_full((*value.shape[:2], num_positions + width), missing)
    wide.scatter_(2, position.clamp(0, num_positions + width - 1), value)
    return wide[:, :, :num_positions]


def gather_range(cells: Cells, value: Tensor) -> Tensor:
    """(B, T, L) -> (B, T, S), zero for positions outside."""
    if cells.starts is None:
        return value
    position = cells.starts.unsqueeze(2) + torch.arange(cells.blank.shape[2], device=value.device)
    outside = position >= value.shape[2]
    return value.gather(2, position.clamp(max=value.shape[2] - 1)).masked_fill(outside, 0.0)


def skew(value: Tensor) -> Tensor:
    """(B, T, L) -> (B, N, L) with out[n, u] = value[n - u, u], -inf where that is no cell."""
    num_frames, num_positions = value.shape[1:]
    diagonal = torch.arange(num_frames + num_positions - 1, device=value.device)
    frame = diagonal.unsqueeze(1) - torch.arange(num_positions, device=value.device)
    outside = (frame < 0) | (frame >= num_frames)
    index = frame.clamp(0, num_frames - 1).expand(value.shape[0], -1, -1)
    return value.gather(1, index).masked_fill(outside, LOG_ZERO)


def unskew(value: Tensor, num_frames: int) -> Tensor:
    """(B, N, L) -> (B, T, L)."""
    num_positions = value.shape[2]
    frames = torch.arange(num_frames, device=value.device).unsqueeze(1)
    diagonal = frames + torch.arange(num_positions, device=value.device)
    return value.gather(1, diagonal.expand(value.shape[0], -1, -1))


def make_arcs(cells: Cells, log_zero: float) -> Arcs:
    """The arcs by frame, in float64, with `log_zero` wherever an utterance has none."""
    blank, label = (spread(cells, x.double(), log_zero) for x in (cells.blank, cells.label))
    frame = torch.arange(blank.shape[1], device=blank.device).view(1, -1, 1)
    position = torch.arange(blank.shape[2], device=blank.device)
    num_frames, num_labels = cells.logit_lengths.view(-1, 1, 1), cells.target_lengths.view(-1, 1, 1)
    outside = (frame >= num_frames) | (position > num_labels)
    final = (frame == num_frames - 1) & (position == num_labels)
    leaves_early = (frame == num_frames - 1) & ~final
    blank = blank.masked_fill(outside | leaves_early, log_zero)
    return Arcs(blank, label.masked_fill(outside | (position >= num_labels), log_zero), final)


def make_grid(cells: Cells) -> Arcs:
    """The arcs laid out so that index n of (B, N, L) holds an anti-diagonal."""
    arcs = make_arcs(cells, LOG_ZERO)
    return Arcs(skew(arcs.blank), skew(arcs.label), skew(arcs.final.double()) == 1.0)


def right(value: Tensor) -> Tensor:
    """Move (B, L) one label position on."""
    return torch.cat([torch.full_like(value[:, :1], LOG_ZERO), value[:, :-1]], dim=1)


def left(value: Tensor) -> Tensor:
    """Move (B, L) one label position back."""
    return torch.cat([value[:, 1:], torch.full_like(value[:, :1], LOG_ZERO)], dim=1)


def forward_variables(grid: Arcs) -> Tensor:
    """Equation 16: (B, N, L) log-probability of all beginnings that reach a cell."""
    alpha = torch.full_like(grid.blank[:, 0], LOG_ZERO)
    alpha[:, 0] = 0.0
    rows = [alpha]
    for n in range(1, grid.blank.shape[1]):
        alpha = torch.logaddexp(alpha + grid.blank[:, n - 1], right(alpha + grid.label[:, n - 1]))
        rows.append(alpha)
    return torch.stack(rows, dim=1)


def backward_variables(grid: Arcs) -> Tensor:
    """Equation 18: (B, N + 1, L) log-probability of all endings from a cell; the final blank is its own ending."""
    beta = torch.full_like(grid.blank[:, 0], LOG_ZERO)
    rows = [beta]
    for n in range(grid.blank.shape[1] - 1, -1, -1):
        onward = torch.logaddexp(grid.blank[:, n] + beta, grid.label[:, n] + left(beta))
        beta = torch.where(grid.final[:, n], grid.blank[:, n], onward)
        rows.append(beta)
    return torch.stack(rows[::-1], dim=1)


class TorchBackend:
    """Every device, any lattice; slow, and obviously right."""

    name = "torch"

    def unavailable_reason(self) -> str | None:
        """Torch is always there."""
        return None

    def unsupported_reason(self, device_type: str, dtype: torch.dtype) -> str | None:
        """Every device will do."""
        return None

    def recursion(self, cells: Cells) -> Recursion:
        """Equations 16 to 20, all in float64."""
        grid = make_grid(cells)
        alpha, beta = forward_variables(grid), backward_variables(grid)
        log_likelihood = beta[:, 0, 0]
        scale = log_likelihood.view(-1, 1, 1)
        after_blank = torch.where(grid.final, torch.zeros_like(alpha), beta[:, 1:])
        after_label = torch.stack([left(row) for row in beta[:, 1:].unbind(1)], dim=1)
        impossible = torch.isinf(scale)

        def posterior(arc: Tensor, after: Tensor) -> Tensor:
            value = unskew(torch.exp(alpha + arc + after - scale).masked_fill(impossible, 0.0), cells.blank.shape[1])
            return gather_range(cells, value).to(cells.blank.dtype)

        occupation = Occupation(posterior(grid.blank, after_blank), posterior(grid.label, after_label))
        return Recursion(log_likelihood.to(cells.blank.dtype), occupation)
