"""The Triton kernels of the recursion; importing this file needs Triton, running them a GPU or TRITON_INTERPRET=1.

Sums are kept in float64. What is added to the larger of two of them, a logarithm between 0 and log 2, is computed in
float32 unless the lattice itself is in float64: it is off by less than 1e-7.

Axes: B batch, T frames, S cells of a frame, L label positions (U + 1).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,untyped-decorator,index,import-untyped,import-not-found"
from __future__ import annotations

import torch
import triton
import triton.language as tl

from dualtk.lattice.backends import base

LOG_ZERO = tl.constexpr(base.FLOAT64_LOG_ZERO)
IMPOSSIBLE = tl.constexpr(-1e200)  # below this there was no path
LANES = 32  # label positions that a warp holds in one register each


@triton.jit
def log_add(a, b, PRECISE: tl.constexpr):
    """log(exp(a) + exp(b))."""
    apart = -tl.abs(a - b)
    if not PRECISE:
        apart = apart.to(tl.float32)
    return tl.maximum(a, b) + tl.log(1.0 + tl.exp(apart)).to(tl.float64)


@triton.jit
def place(start, t, u, frames, labels, S, PRUNED: tl.constexpr):
    """Where frame t keeps label position u, and whether it does."""
    inside = (t >= 0) & (t < frames) & (u <= labels)
    s = u.to(tl.int64)
    if PRUNED:
        s -= tl.load(start + t, mask=inside, other=0)
    inside &= (s >= 0) & (s < S)
    return t * S + s, inside


@triton.jit
def arcs(blank, label, start, t, u, frames, labels, S, PRUNED: tl.constexpr):
    """The two arcs that leave each cell, in float64."""
    cell, inside = place(start, t, u, frames, labels, S, PRUNED)
    by_blank = tl.load(blank + cell, mask=inside, other=float("-inf")).to(tl.float64)
    by_label = tl.load(label + cell, mask=inside & (u < labels), other=float("-inf")).to(tl.float64)
    by_blank = tl.maximum(by_blank, LOG_ZERO, propagate_nan=tl.PropagateNan.ALL)
    return by_blank, tl.maximum(by_label, LOG_ZERO, propagate_nan=tl.PropagateNan.ALL), cell, inside


@triton.jit
def walk(
    blank, label, start, num_frames, num_labels, alpha, beta, T, S,
    WIDTH: tl.constexpr, PRUNED: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Program (b, 0) computes the forward variables of utterance b, program (b, 1) the backward ones.

    A program walks the anti-diagonals t + u, on which no cell waits for another: lane u is at frame n - u. The arcs of
    the next diagonals are under way meanwhile.
    """
    b = tl.program_id(0).to(tl.int64)  # a large batch has more cells than 32 bits can count
    first = b * T * S
    blank, label, alpha, beta = blank + first, label + first, alpha + first, beta + first
    start += b * T
    frames, labels = tl.load(num_frames + b).to(tl.int64), tl.load(num_labels + b).to(tl.int64)
    u = tl.arange(0, WIDTH)
    never = tl.full([WIDTH], LOG_ZERO, tl.float64)
    zero = tl.zeros([WIDTH], tl.float64)
    if tl.program_id(1) == 0:
        n = frames * 0
        value = tl.where(u == 0, zero, never)
        before = tl.maximum(u - 1, 0)
        b0, l0, c0, i0 = arcs(blank, label, start, n - u, u, frames, labels, S, PRUNED)
        b1, l1, c1, i1 = arcs(blank, label, start, n + 1 - u, u, frames, labels, S, PRUNED)
        b2, l2, c2, i2 = arcs(blank, label, start, n + 2 - u, u, frames, labels, S, PRUNED)
        while n < frames + labels:  # the interpreter has no range() of a loaded number
            b3, l3, c3, i3 = arcs(blank, label, start, n + 3 - u, u, frames, labels, S, PRUNED)
            value = tl.where(i0, value, never)
            tl.store(alpha + c0, value, mask=i0)
            from_label = tl.where(u == 0, never, tl.gather(value + l0, before, 0))
            value = log_add(value + b0, from_label, PRECISE)
            b0, l0, c0, i0 = b1, l1, c1, i1
            b1, l1, c1, i1 = b2, l2, c2, i2
            b2, l2, c2, i2 = b3, l3, c3, i3
            n += 1
    else:
        n = frames + labels - 1
        value = tl.where(u == labels, zero, never)
        after = tl.minimum(u + 1, WIDTH - 1)
        b0, l0, c0, i0 = arcs(blank, label, start, n - u, u, frames, labels, S, PRUNED)
        b1, l1, c1, i1 = arcs(blank, label, start, n - 1 - u, u, frames, labels, S, PRUNED)
        b2, l2, c2, i2 = arcs(blank, label, start, n - 2 - u, u, frames, labels, S, PRUNED)
        while n >= 0:
            b3, l3, c3, i3 = arcs(blank, label, start, n - 3 - u, u, frames, labels, S, PRUNED)
            onward = tl.where(u == WIDTH - 1, never, tl.gather(value, after, 0))
            value = tl.where(i0, log_add(value + b0, onward + l0, PRECISE), never)
            tl.store(beta + c0, value, mask=i0)
            b0, l0, c0, i0 = b1, l1, c1, i1
            b1, l1, c1, i1 = b2, l2, c2, i2
            b2, l2, c2, i2 = b3, l3, c3, i3
            n -= 1


@triton.jit
def occupy(
    blank, label, start, num_frames, num_labels, alpha, beta, by_blank, by_label, likelihood, T, S,
    WIDTH: tl.constexpr, PRUNED: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Program (t, b) turns the variables of a frame into posteriors of its arcs, zero beyond the utterance."""
    t, b = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    first = b * T * S
    frames, labels = tl.load(num_frames + b).to(tl.int64), tl.load(num_labels + b).to(tl.int64)
    s = tl.arange(0, WIDTH)
    u, start, frame = s.to(tl.int64), start + b * T, t + tl.zeros([WIDTH], tl.int64)
    if PRUNED:
        u += tl.load(start + t)
    total = tl.load(beta + first)
    if t == 0:
        kept = tl.where(total < IMPOSSIBLE, float("-inf"), total)
        tl.store(likelihood + b, kept.to(likelihood.dtype.element_ty))
    blank_arc, label_arc, cell, inside = arcs(blank + first, label + first, start, frame, u, frames, labels, S, PRUNED)
    inside &= s < S
    next_cell, is_next = place(start, frame + 1, u, frames, labels, S, PRUNED)
    after_blank = tl.load(beta + first + next_cell, mask=inside & is_next, other=LOG_ZERO)
    after_blank = tl.where((t == frames - 1) & (u == labels), 0.0, after_blank)
    after_label = tl.load(beta + first + cell + 1, mask=inside & (u < labels) & (s + 1 < S), other=LOG_ZERO)
    reached = tl.load(alpha + first + cell, mask=inside, other=LOG_ZERO)
    reached = tl.where(total < IMPOSSIBLE, LOG_ZERO, reached - total)
    blank_sum, label_sum = reached + blank_arc + after_blank, reached + label_arc + after_label
    if not PRECISE:
        blank_sum, label_sum = blank_sum.to(tl.float32), label_sum.to(tl.float32)
    out = first + t * S + s
    blank_share = tl.where(inside, tl.exp(blank_sum), 0.0)
    label_share = tl.where(inside & (u < labels), tl.exp(label_sum), 0.0)
    tl.store(by_blank + out, blank_share.to(by_blank.dtype.element_ty), mask=s < S)
    tl.store(by_label + out, label_share.to(by_label.dtype.element_ty), mask=s < S)


def recursion(cells: base.Cells) -> base.Recursion:
    """Forward and backward variables of all cells in one launch, their posteriors in another."""
    blank, label = cells.blank, cells.label
    batch, num_frames, width = blank.shape
    given = (blank, label, cells.logit_lengths if cells.starts is None else cells.starts)
    lengths = (cells.logit_lengths, cells.target_lengths)
    positions = width if cells.starts is None else int(cells.target_lengths.max()) + 1
    alpha, beta = (torch.empty(blank.shape, dtype=torch.float64, device=blank.device) for _ in range(2))
    by_blank, by_label = torch.empty_like(blank), torch.empty_like(label)
    likelihood = blank.new_empty(batch)
    kind = {"PRUNED": cells.starts is not None, "PRECISE": blank.dtype == torch.float64}
    padded = max(LANES, triton.next_power_of_2(positions))
    with torch.cuda.device_of(blank):  # Triton launches on the current device, whichever holds the tensors
        warps = max(1, min(8, padded // 128))
        walk[(batch, 2)](*given, *lengths, alpha, beta, num_frames, width, WIDTH=padded, num_warps=warps, **kind)
        row = max(LANES, triton.next_power_of_2(width))
        outputs = (by_blank, by_label, likelihood, num_frames, width)
        occupy[(num_frames, batch)](*given, *lengths, alpha, beta, *outputs, WIDTH=row, num_warps=1, **kind)
    return base.Recursion(likelihood, base.Occupation(by_blank, by_label))
