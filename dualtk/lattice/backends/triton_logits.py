"""Logits to lattice on the GPU: each row of the vocabulary is read once, and its gradient written once.

Axes: B batch, T frames, S cells of a frame, V vocabulary, R rows (B * T * S).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,untyped-decorator,index,import-untyped,import-not-found"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dualtk.lattice import cell_list
from dualtk.lattice.backends import base
from dualtk.lattice.negligible import SHARE

NO_CELL = tl.constexpr(cell_list.NO_CELL)
LOG_ZERO = tl.constexpr(base.LOG_ZERO)


@triton.jit
def score_row(logits, label, normaliser, blank_score, label_score, blank, V: tl.constexpr, BLOCK: tl.constexpr):
    """Program r reduces row r: a running maximum and a sum of exponentials relative to it."""
    r = tl.program_id(0).to(tl.int64)
    target = tl.load(label + r)
    if target == NO_CELL:
        tl.store(normaliser + r, tl.zeros([], tl.float64))
        tl.store(blank_score + r, LOG_ZERO)
        tl.store(label_score + r, LOG_ZERO)
    else:
        high = tl.full([BLOCK], LOG_ZERO, tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        for first in range(0, V, BLOCK):
            v = first + tl.arange(0, BLOCK)
            x = tl.load(logits + r * V + v, mask=v < V, other=LOG_ZERO).to(tl.float32)
            higher = tl.maximum(high, x, propagate_nan=tl.PropagateNan.ALL)
            safe = tl.where(higher == LOG_ZERO, 0.0, higher)  # lanes that have seen no logit yet
            total = total * tl.exp(high - safe) + tl.exp(x - safe)
            high = higher
        top = tl.max(high, 0)
        low = tl.log(tl.sum(total * tl.exp(high - top), 0))
        tl.store(normaliser + r, top.to(tl.float64) + low.to(tl.float64))
        tl.store(blank_score + r, tl.load(logits + r * V + blank).to(tl.float32) - top - low)
        value = tl.load(logits + r * V + target, mask=target >= 0, other=LOG_ZERO).to(tl.float32)
        tl.store(label_score + r, tl.where(target >= 0, value - top - low, LOG_ZERO))


@triton.jit
def gradient_row(
    logits, label, normaliser, for_blank, for_label, limit, out, blank, V: tl.constexpr, BLOCK: tl.constexpr
):
    """Program r writes the gradient of row r; one whose cell cannot change any sum is not read (`negligible`)."""
    r = tl.program_id(0).to(tl.int64)
    target = tl.load(label + r)
    by_blank, by_label, low_limit = tl.load(for_blank + r), tl.load(for_label + r), tl.load(limit)
    by_label = tl.where(target >= 0, by_label, 0.0)
    size = tl.maximum(tl.abs(by_blank), tl.abs(by_label), propagate_nan=tl.PropagateNan.ALL)
    if (target == NO_CELL) | ((size <= low_limit) & (low_limit < float("inf"))):
        for first in range(0, V, BLOCK):
            v = first + tl.arange(0, BLOCK)
            tl.store(out + r * V + v, tl.zeros([BLOCK], out.dtype.element_ty), mask=v < V)
    else:
        norm = tl.load(normaliser + r)
        top = norm.to(tl.float32)
        low = (norm - top.to(tl.float64)).to(tl.float32)
        for first in range(0, V, BLOCK):
            v = first + tl.arange(0, BLOCK)
            x = tl.load(logits + r * V + v, mask=v < V, other=LOG_ZERO).to(tl.float32)
            grad = -(by_blank + by_label) * tl.exp(x - top - low)
            grad += tl.where(v == blank, by_blank, 0.0) + tl.where(v == target, by_label, 0.0)
            tl.store(out + r * V + v, grad.to(out.dtype.element_ty), mask=v < V)


def shape(vocabulary: int) -> dict[str, int]:
    """Logits that a program holds at a time, and the warps that do so: measured by `tools/gpu/tune.py`."""
    block = min(2048, max(32, triton.next_power_of_2(vocabulary)))
    return {"V": vocabulary, "BLOCK": block, "num_warps": max(1, min(8, block // 256))}


class TritonReduction:
    """The GPU form of `TorchReduction`, for float32 and half precision."""

    def scores(self, logits: Tensor, label: Tensor, blank: int) -> base.Scores:
        """See `Reduction`."""
        logits, label = logits.contiguous(), label.contiguous()
        normaliser = torch.empty(label.shape, dtype=torch.float64, device=logits.device)
        blank_score, label_score = (torch.empty_like(normaliser, dtype=torch.float32) for _ in range(2))
        if label.numel():
            out = (normaliser, blank_score, label_score)
            with torch.cuda.device_of(logits):
                score_row[(label.numel(),)](logits, label, *out, blank, **shape(logits.shape[3]))
        return base.Scores(blank_score, label_score, normaliser)

    def gradient(
        self, logits: Tensor, label: Tensor, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor
    ) -> Tensor:
        """See `Reduction`."""
        logits, label = logits.contiguous(), label.contiguous()
        out = torch.empty_like(logits)
        if label.numel():
            largest = torch.maximum(*(torch.linalg.vector_norm(grad, torch.inf) for grad in (for_blank, for_label)))
            given = (normaliser, for_blank.contiguous(), for_label.contiguous(), SHARE * largest)
            with torch.cuda.device_of(logits):
                gradient_row[(label.numel(),)](logits, label, *given, out, blank, **shape(logits.shape[3]))
        return out
