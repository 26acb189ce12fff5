"""The Triton kernels over rows of logits: each row of the vocabulary is read once, and its gradient written once.

Importing this file needs Triton, running its kernels a GPU or TRITON_INTERPRET=1. A program has one row. What its next
label is, it is told (LISTED), or reads off the targets at the place of its cell (FULL, PRUNED).

Axes: B batch, T frames, U labels, S cells of a frame, V vocabulary, R rows.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,misc,untyped-decorator,index,import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dualtk.lattice import cell_list
from dualtk.lattice.backends import base
from dualtk.lattice.negligible import SHARE

NO_CELL = tl.constexpr(cell_list.NO_CELL)
NO_LABEL = tl.constexpr(cell_list.NO_LABEL)
LOG_ZERO = tl.constexpr(base.LOG_ZERO)
SIZES = ["blank", "S", "U"]  # which batches differ in: not compiled anew for each kind of number
LISTED, FULL, PRUNED = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def find(targets, start, num_frames, num_labels, S, U, KIND: tl.constexpr):
    """The number of this program's row, and its next label."""
    r = tl.program_id(0).to(tl.int64)
    if KIND == LISTED:
        return r, tl.load(targets + r)
    cells = tl.num_programs(0)
    b = tl.program_id(1).to(tl.int64)
    t = tl.program_id(0) // S
    u = tl.program_id(0) % S
    if KIND == PRUNED:
        u += tl.load(start + b * (cells // S) + t).to(tl.int32)
    labels = tl.load(num_labels + b).to(tl.int32)
    inside = (t < tl.load(num_frames + b)) & (u <= labels)
    label = tl.load(targets + b * U + u, mask=inside & (u < labels), other=NO_LABEL)
    return b * cells + r, tl.where(inside, label, NO_CELL)


@triton.jit(do_not_specialize=SIZES)
def score_row(
    logits, targets, start, num_frames, num_labels, normaliser, blank_score, label_score, blank, S, U,
    V: tl.constexpr, BLOCK: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Reduce a row: a running maximum and a sum of exponentials relative to it."""
    r, target = find(targets, start, num_frames, num_labels, S, U, KIND)
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


@triton.jit(do_not_specialize=SIZES)
def gradient_row(
    logits, targets, start, num_frames, num_labels, normaliser, for_blank, for_label, limit, out, blank, S, U,
    V: tl.constexpr, BLOCK: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Write the gradient of a row; one whose cell cannot change any sum is not read (`negligible`)."""
    r, target = find(targets, start, num_frames, num_labels, S, U, KIND)
    by_blank, by_label, least = tl.load(for_blank + r), tl.load(for_label + r), tl.load(limit)
    by_label = tl.where(target >= 0, by_label, 0.0)
    size = tl.maximum(tl.abs(by_blank), tl.abs(by_label), propagate_nan=tl.PropagateNan.ALL)
    if (target == NO_CELL) | ((size <= least) & (least < float("inf"))):
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
    return {"V": vocabulary, "BLOCK": min(512, max(32, triton.next_power_of_2(vocabulary))), "num_warps": 1}


@dataclass(frozen=True)
class Rows:
    """Rows of logits (R, V), or (B, T, S, V), contiguous, and where their labels stand.

    Attributes:
        logits: in float32 or half precision.
        places: labels, starts, frames and labels of each utterance, as the kernels read them.
        size: S and U.
        kind: LISTED, FULL or PRUNED.
    """

    logits: Tensor
    places: tuple[Tensor, Tensor, Tensor, Tensor]
    size: tuple[int, int]
    kind: int

    @staticmethod
    def listed(logits: Tensor, label: Tensor) -> Rows:
        """Logits (R, V) with a label (R,) for each row."""
        return Rows(logits, (label, label, label, label), (1, 1), LISTED.value)

    def scores(self, blank: int) -> base.Scores:
        """See `Reduction`."""
        where = self.logits.shape[:-1]
        normaliser = torch.empty(where, dtype=torch.float64, device=self.logits.device)
        found = torch.empty((2, *where), dtype=torch.float32, device=self.logits.device)
        self._launch(score_row, normaliser, found[0], found[1], blank)
        return base.Scores(found[0], found[1], normaliser)

    def gradient(self, blank: int, normaliser: Tensor, for_blank: Tensor, for_label: Tensor, out: Tensor) -> None:
        """Write the gradient of the logits to `out`, which may be the logits themselves."""
        largest = torch.maximum(*(torch.linalg.vector_norm(grad, torch.inf) for grad in (for_blank, for_label)))
        given = (normaliser, for_blank.contiguous(), for_label.contiguous(), SHARE * largest)
        self._launch(gradient_row, *given, out, blank)

    def _launch(self, kernel: Callable[..., Any], *rest: Tensor | int) -> None:
        where = self.logits.shape[:-1]
        if where.numel():
            grid = (where.numel(),) if self.kind == LISTED.value else (where[1] * where[2], where[0])
            with torch.cuda.device_of(self.logits):  # Triton launches on the current device
                settings = {**shape(self.logits.shape[-1]), "KIND": self.kind}
                kernel[grid](self.logits, *self.places, *rest, *self.size, **settings)
