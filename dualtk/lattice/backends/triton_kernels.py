"""The Triton kernels; importing this file needs Triton, running them a GPU or TRITON_INTERPRET=1.

Axes: B batch, T frames, L label positions (U + 1).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,untyped-decorator,index,import-untyped,import-not-found"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dualtk.lattice.backends import base

LOG_ZERO = tl.constexpr(base.FLOAT64_LOG_ZERO)


@triton.jit
def log_add(a, b):
    """log(exp(a) + exp(b))."""
    high = tl.maximum(a, b)
    return high + tl.log(1.0 + tl.exp(-tl.abs(a - b)))


@triton.jit
def chain(add_first, floor_first, add_second, floor_second):
    """Compose x -> log(exp(x + add) + exp(floor)), first then second."""
    return add_first + add_second, log_add(floor_first + add_second, floor_second)


@triton.jit
def walk(blank, label, num_frames, num_labels, alpha, beta, stride_b, width, WIDTH: tl.constexpr):
    """Program (b, 0) computes the forward variables of utterance b, program (b, 1) the backward ones."""
    b = tl.program_id(0).to(tl.int64)  # a large batch has more cells than 32 bits can count
    blank, label, alpha, beta = blank + b * stride_b, label + b * stride_b, alpha + b * stride_b, beta + b * stride_b
    frames, labels = tl.load(num_frames + b).to(tl.int64), tl.load(num_labels + b)
    u = tl.arange(0, WIDTH)
    inside = u < width
    never = tl.full([WIDTH], LOG_ZERO, tl.float64)
    zero = tl.zeros([WIDTH], tl.float64)
    if tl.program_id(1) == 0:
        arrived = tl.where(u == 0, zero, never)
        t = frames * 0
        while t < frames:  # the interpreter has no range() of a loaded number
            lead_in = tl.load(label + t * width + u - 1, mask=inside & (u > 0), other=LOG_ZERO)
            _, row = tl.associative_scan((lead_in, arrived), 0, chain)
            tl.store(alpha + t * width + u, row, mask=inside)
            arrived = row + tl.load(blank + t * width + u, mask=inside, other=LOG_ZERO)
            t += 1
    else:
        arrived = tl.where(u == labels, zero, never)
        t = frames - 1
        while t >= 0:
            floor = arrived + tl.load(blank + t * width + u, mask=inside, other=LOG_ZERO)
            lead_out = tl.load(label + t * width + u, mask=inside, other=LOG_ZERO)
            _, arrived = tl.associative_scan((lead_out, floor), 0, chain, reverse=True)
            tl.store(beta + t * width + u, arrived, mask=inside)
            t -= 1


def variables(blank: Tensor, label: Tensor, num_frames: Tensor, num_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Forward and backward variables (B, T, L) of arcs (B, T, L) in float64; beta of the first cell is the result."""
    blank, label = blank.contiguous(), label.contiguous()
    alpha, beta = (torch.full_like(blank, base.FLOAT64_LOG_ZERO) for _ in range(2))
    width = blank.shape[2]
    padded = triton.next_power_of_2(width)
    arrays = (blank, label, num_frames.contiguous(), num_labels.contiguous(), alpha, beta)
    warps = max(1, min(8, padded // 32))
    with torch.cuda.device_of(blank):  # Triton launches on the current device, whichever holds the tensors
        walk[(blank.shape[0], 2)](*arrays, blank.stride(0), width, WIDTH=padded, num_warps=warps)
    return alpha, beta
