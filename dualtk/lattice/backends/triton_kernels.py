"""The Triton kernels of the recursion; importing this file needs Triton, running them a GPU or TRITON_INTERPRET=1.

Sums are kept in float64. What is added to the larger of two of them, a logarithm between 0 and log 2, is computed in
float32 unless the lattice itself is in float64: it is off by less than 1e-6.

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
OUTSIDE = tl.constexpr(-1)  # cell of a lane that has none
LOG_2 = tl.constexpr(0.6931471805599453)
SIZES = ["T", "S"]  # which batches differ in: not compiled anew for each kind of number
LANES = 32  # label positions that a warp holds in one register each


@triton.jit
def log_add(a, b, PRECISE: tl.constexpr):
    """log(exp(a) + exp(b))."""
    if PRECISE:
        rest = tl.log(1.0 + tl.exp(-tl.abs(a - b)))
    else:
        rest = (tl.log2(1.0 + tl.exp((-tl.abs(a - b)).to(tl.float32))) * LOG_2).to(tl.float64)
    return tl.maximum(a, b) + rest


@triton.jit
def wide(arc):
    """In float64, finite: the difference of two infinities would be NaN."""
    return tl.maximum(arc.to(tl.float64), LOG_ZERO, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED: tl.constexpr):
    """The two arcs that leave position u in frame t, and the number of its cell; that of the first is `row`."""
    inside = (t >= 0) & (t < frames) & (u <= labels)
    s = u
    if PRUNED:
        s = u - tl.load(start + t, mask=inside, other=0).to(tl.int32)
        inside = inside & (s >= 0) & (s < S)
    cell = tl.where(inside, row + s, OUTSIDE)
    by_blank = tl.load(blank + cell, mask=inside, other=float("-inf"))
    return by_blank, tl.load(label + cell, mask=inside & (u < labels), other=float("-inf")), cell


@triton.jit(do_not_specialize=SIZES)
def walk(
    blank, label, start, num_frames, num_labels, alpha, beta, T, S,
    WIDTH: tl.constexpr, PRUNED: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Program (b, 0) computes the forward variables of utterance b, program (b, 1) the backward ones.

    A program walks the anti-diagonals t + u, on which no cell waits for another: lane u is at frame n - u. The arcs of
    the next diagonals are under way meanwhile.
    """
    b = tl.program_id(0).to(tl.int64)  # a large batch has more cells than 32 bits can count, an utterance has not
    first = b * T * S
    blank, label, alpha, beta, start = blank + first, label + first, alpha + first, beta + first, start + b * T
    frames, labels = tl.load(num_frames + b).to(tl.int32), tl.load(num_labels + b).to(tl.int32)
    u = tl.arange(0, WIDTH)
    never = tl.full([WIDTH], LOG_ZERO, tl.float64)
    zero = tl.zeros([WIDTH], tl.float64)
    if tl.program_id(1) == 0:
        step, ahead, t, value = 1, S, 0 - u, tl.where(u == 0, zero, never)
    else:
        step, ahead, t, value = -1, 0 - S, frames + labels - 1 - u, tl.where(u == labels, zero, never)
    row = (t.to(tl.int64) * S).to(tl.int32)
    b0, l0, c0 = arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED)
    t, row = t + step, row + ahead
    b1, l1, c1 = arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED)
    t, row = t + step, row + ahead
    b2, l2, c2 = arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED)
    left = frames + labels
    if tl.program_id(1) == 0:
        before = tl.maximum(u - 1, 0)
        while left > 0:  # the interpreter has no range() of a loaded number
            t, row = t + step, row + ahead
            b3, l3, c3 = arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED)
            value = tl.where(c0 >= 0, value, never)
            tl.store(alpha + c0, value, mask=c0 >= 0)
            from_label = tl.where(u == 0, never, tl.gather(value + wide(l0), before, 0))
            value = log_add(value + wide(b0), from_label, PRECISE)
            b0, l0, c0, b1, l1, c1, b2, l2, c2 = b1, l1, c1, b2, l2, c2, b3, l3, c3
            left -= 1
    else:
        after = tl.minimum(u + 1, WIDTH - 1)
        while left > 0:
            t, row = t + step, row + ahead
            b3, l3, c3 = arcs(blank, label, start, t, row, u, frames, labels, S, PRUNED)
            onward = tl.where(u == WIDTH - 1, never, tl.gather(value, after, 0))
            value = tl.where(c0 >= 0, log_add(value + wide(b0), onward + wide(l0), PRECISE), never)
            tl.store(beta + c0, value, mask=c0 >= 0)
            b0, l0, c0, b1, l1, c1, b2, l2, c2 = b1, l1, c1, b2, l2, c2, b3, l3, c3
            left -= 1


@triton.jit(do_not_specialize=SIZES)
def occupy(
    blank, label, start, num_frames, num_labels, alpha, beta, by_blank, by_label, likelihood, T, S,
    WIDTH: tl.constexpr, PRUNED: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """Program (t, b) turns the variables of a frame into posteriors of its arcs, zero beyond the utterance."""
    t, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    first = b * T * S
    blank, label, alpha, beta, start = blank + first, label + first, alpha + first, beta + first, start + b * T
    frames, labels = tl.load(num_frames + b).to(tl.int32), tl.load(num_labels + b).to(tl.int32)
    s = tl.arange(0, WIDTH)
    zero = tl.zeros([WIDTH], tl.int32)
    u, frame, row = s, t + zero, (t.to(tl.int64) * S).to(tl.int32) + zero
    if PRUNED:
        u += tl.load(start + t).to(tl.int32)
    total = tl.load(beta)
    if t == 0:
        kept = tl.where(total < IMPOSSIBLE, float("-inf"), total)
        tl.store(likelihood + b, kept.to(likelihood.dtype.element_ty))
    u = tl.where(s < S, u, labels + 1)  # lanes beyond the cells of a frame are outside
    blank_arc, label_arc, cell = arcs(blank, label, start, frame, row, u, frames, labels, S, PRUNED)
    inside = cell >= 0
    _, _, next_cell = arcs(blank, label, start, frame + 1, row + S, u, frames, labels, S, PRUNED)
    after_blank = tl.load(beta + next_cell, mask=inside & (next_cell >= 0), other=LOG_ZERO)
    after_blank = tl.where((t == frames - 1) & (u == labels), 0.0, after_blank)
    after_label = tl.load(beta + cell + 1, mask=inside & (u < labels) & (s + 1 < S), other=LOG_ZERO)
    reached = tl.load(alpha + cell, mask=inside, other=LOG_ZERO)
    reached = tl.where(total < IMPOSSIBLE, LOG_ZERO, reached - total)
    blank_sum, label_sum = reached + wide(blank_arc) + after_blank, reached + wide(label_arc) + after_label
    if not PRECISE:
        blank_sum, label_sum = blank_sum.to(tl.float32), label_sum.to(tl.float32)
    blank_share = tl.where(inside, tl.exp(blank_sum), 0.0)
    label_share = tl.where(inside & (u < labels), tl.exp(label_sum), 0.0)
    out = first + row + s
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
        warps = min(16, padded // LANES)
        walk[(batch, 2)](*given, *lengths, alpha, beta, num_frames, width, WIDTH=padded, num_warps=warps, **kind)
        row = max(LANES, triton.next_power_of_2(width))
        outputs = (by_blank, by_label, likelihood, num_frames, width)
        occupy[(num_frames, batch)](*given, *lengths, alpha, beta, *outputs, WIDTH=row, num_warps=1, **kind)
    return base.Recursion(likelihood, base.Occupation(by_blank, by_label))
