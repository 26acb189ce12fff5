"""The compiled CPU recursion, in numbers m * 2 ** e with a float64 mantissa and an int64 exponent of its own.

Such numbers hold any product of probabilities with all digits, so paths are added up as plain sums: one exponential for
each arc on the way in, and no logarithm until the end. The loops are written for the vectoriser: whole rows, no calls
but those that are inlined, and powers of two made by shifts.

All of a kernel's callees are in this file, since numba's cache only watches the file of the kernel itself.

Axes: T frames, S cells of a frame, L label positions (U + 1), N anti-diagonals, W columns of a skewed row.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualtk.jit import LOG2_E, kernel

Array = NDArray[np.float64]
Index = NDArray[np.int64]

ZERO_EXPONENT = -(2**40)  # exponent of zero; sums of millions of such exponents still fit
IMPOSSIBLE_EXPONENT = -(2**39)  # below this there was no path
LANES = 16  # rows of a multiple of this many float64 leave the vector loop no rest to do one by one
LN2 = 0.6931471805599453
ROUNDER = 6755399441055744.0  # 1.5 * 2 ** 52: a sum with it is rounded to an integer, held in its last bits
ROUNDER_BITS = 0x4338000000000000


@kernel
def power(exponent: int) -> float:
    """2 ** exponent for exponents up to 1023; zero below -1022."""
    exponent = np.int64(-1023) if exponent < np.int64(-1023) else np.int64(exponent)
    return np.int64((exponent + np.int64(1023)) << np.int64(52)).view(np.float64)


@kernel
def split(value: float) -> tuple[float, int]:
    """exp(value) as mantissa and exponent; a NaN is a NaN in the mantissa.

    The polynomial of degree 11 is the nearest to 2 ** r on [-1/2, 1/2], to 3e-18.
    """
    y = value * LOG2_E
    y = np.float64(ZERO_EXPONENT) if y < np.float64(ZERO_EXPONENT) else y
    n = y + ROUNDER
    r = y - (n - ROUNDER)
    p = 4.455817908336064493e-10
    p = p * r + 7.074194297288521006e-9
    p = p * r + 1.01780570877339411e-7
    p = p * r + 1.321543253591237617e-6
    p = p * r + 1.525273384155677259e-5
    p = p * r + 1.540353046372435421e-4
    p = p * r + 1.33335581464064707e-3
    p = p * r + 9.618129107587256668e-3
    p = p * r + 5.550410866482162704e-2
    p = p * r + 2.402265069591015957e-1
    p = p * r + 6.931471805599453093e-1
    p = p * r + 1.0
    return p, np.float64(n).view(np.int64) - np.int64(ROUNDER_BITS)


@kernel
def add(m: float, e: int, other_m: float, other_e: int) -> tuple[float, int]:
    """Sum of two such numbers, its mantissa in [1, 2)."""
    high = e if e > other_e else other_e
    total = m * power(e - high) + other_m * power(other_e - high)
    excess = (np.float64(total).view(np.int64) >> np.int64(52)) - np.int64(1023)
    return total * power(-excess), high + excess


@kernel
def log(m: float, e: int) -> float:
    """Natural logarithm of m * 2 ** e; minus infinity where there was no path."""
    if e < IMPOSSIBLE_EXPONENT and not np.isnan(m):
        return -np.inf
    return np.log(m) + e * LN2


@kernel
def copy(values: Array, out: Array) -> None:
    """Fill `out`, or take all of `values`, whichever is shorter."""
    for i in range(min(values.shape[0], out.shape[0])):
        out[i] = values[i]


@kernel
def split_all(value: Array, exponent: Index) -> None:
    """Replace log-probabilities by mantissas and exponents."""
    for i in range(value.shape[0]):
        value[i], exponent[i] = split(value[i])


@kernel
def full_recursion(
    blank: Array,
    label: Array,
    num_frames: Index,
    num_labels: Index,
    log_likelihood: Array,
    blank_occupation: Array,
    label_occupation: Array,
    start: int,
    stop: int,
) -> None:
    """Recursion of utterances start..stop - 1 of full lattices (B, T, L).

    Anti-diagonals n = t + u are laid one after the other as rows of W columns, position u of row n at index
    1 + n * W + u. Rows are whole, with zeros where there is no cell, of which there is one at least behind each row and
    at both ends: so the neighbour before the first label of a row is the end of the row before.

    Occupations must come in as zeros; cells beyond an utterance stay so.
    """
    for b in range(start, stop):
        num_t, num_u = num_frames[b], num_labels[b] + 1
        num_n, width = num_t + num_u - 1, -(-(num_u + 1) // LANES) * LANES
        size = num_n * width + 2
        by_blank, by_label = np.full(size, -np.inf), np.full(size, -np.inf)
        for t in range(num_t):
            place = slice(1 + t * width, None, width + 1)  # a step along the labels is one along the row of the next n
            if t < num_t - 1:
                copy(blank[b, t, :num_u], by_blank[place])
            copy(label[b, t, : num_u - 1], by_label[place])
        end = size - 1 - width + num_u - 1  # the last cell; the path leaves it by its blank
        by_blank[end] = blank[b, num_t - 1, num_u - 1]
        blank_exponent, label_exponent = np.empty(size, np.int64), np.empty(size, np.int64)
        split_all(by_blank, blank_exponent)
        split_all(by_label, label_exponent)
        alpha, alpha_exponent = forward_rows(by_blank, blank_exponent, by_label, label_exponent, width)
        total, total_exponent = alpha[end] * by_blank[end], alpha_exponent[end] + blank_exponent[end]
        log_likelihood[b] = log(total, total_exponent)
        if log_likelihood[b] == -np.inf:
            continue
        beta, beta_exponent = backward_rows(by_blank, blank_exponent, by_label, label_exponent, width, end)
        same, higher = slice(1 + width, None), slice(2 + width, None)
        alpha *= 1.0 / total
        alpha_exponent -= total_exponent
        posterior(by_blank[1:], blank_exponent[1:], beta[same], beta_exponent[same], alpha[1:], alpha_exponent[1:])
        posterior(by_label[1:], label_exponent[1:], beta[higher], beta_exponent[higher], alpha[1:], alpha_exponent[1:])
        for t in range(num_t):
            place = slice(1 + t * width, None, width + 1)
            if t < num_t - 1:
                copy(by_blank[place], blank_occupation[b, t, :num_u])
            copy(by_label[place], label_occupation[b, t, : num_u - 1])
        blank_occupation[b, num_t - 1, num_u - 1] = total / total  # every path ends here; NaN if there is one


@kernel
def forward_rows(
    by_blank: Array, blank_exponent: Index, by_label: Array, label_exponent: Index, width: int
) -> tuple[Array, Index]:
    """Forward variables of arcs, in the layout of `full_recursion`."""
    size = by_blank.shape[0]
    alpha, exponent = np.empty(size), np.empty(size, np.int64)
    alpha[: width + 1], exponent[: width + 1] = 1.0, ZERO_EXPONENT
    exponent[1] = 0
    for row in range(1, size - 1 - width, width):
        same, lower, out = slice(row, row + width), slice(row - 1, row - 1 + width), slice(row + width, row + 2 * width)
        add_arcs(
            alpha[same], exponent[same], by_blank[same], blank_exponent[same],
            alpha[lower], exponent[lower], by_label[lower], label_exponent[lower],
            alpha[out], exponent[out],
        )  # fmt: skip
    return alpha, exponent


@kernel
def backward_rows(
    by_blank: Array, blank_exponent: Index, by_label: Array, label_exponent: Index, width: int, end: int
) -> tuple[Array, Index]:
    """Backward variables of arcs, in the layout of `full_recursion`; `end` is the last cell."""
    size = by_blank.shape[0]
    beta, exponent = np.empty(size), np.empty(size, np.int64)
    beta[size - 1 - width :], exponent[size - 1 - width :] = 1.0, ZERO_EXPONENT
    beta[end], exponent[end] = by_blank[end], blank_exponent[end]
    for row in range(size - 1 - 2 * width, 0, -width):
        out, same = slice(row, row + width), slice(row + width, row + 2 * width)
        higher = slice(row + width + 1, row + 2 * width + 1)
        add_arcs(
            beta[same], exponent[same], by_blank[out], blank_exponent[out],
            beta[higher], exponent[higher], by_label[out], label_exponent[out],
            beta[out], exponent[out],
        )  # fmt: skip
    return beta, exponent


@kernel
def add_arcs(
    one: Array,
    one_exponent: Index,
    blank: Array,
    blank_exponent: Index,
    other: Array,
    other_exponent: Index,
    label: Array,
    label_exponent: Index,
    out: Array,
    out_exponent: Index,
) -> None:
    """out = one * blank + other * label; slices that all start at zero let the loop vectorise."""
    for i in range(out.shape[0]):
        out[i], out_exponent[i] = add(
            one[i] * blank[i],
            one_exponent[i] + blank_exponent[i],
            other[i] * label[i],
            other_exponent[i] + label_exponent[i],
        )


@kernel
def posterior(
    arc: Array, arc_exponent: Index, after: Array, after_exponent: Index, before: Array, before_exponent: Index
) -> None:
    """Replace the mantissas of arcs by the probability that a path takes them."""
    for i in range(after.shape[0]):
        arc[i] = before[i] * arc[i] * after[i] * power(before_exponent[i] + arc_exponent[i] + after_exponent[i])


@kernel
def pruned_recursion(
    blank: Array,
    label: Array,
    starts: Index,
    num_frames: Index,
    num_labels: Index,
    log_likelihood: Array,
    blank_occupation: Array,
    label_occupation: Array,
    start: int,
    stop: int,
) -> None:
    """Recursion of utterances start..stop - 1 of pruned lattices (B, T, S) whose frames start at `starts` (B, T).

    Occupations must come in as zeros; cells beyond an utterance stay so.
    """
    width = blank.shape[2]
    for b in range(start, stop):
        num_t, num_u, first = num_frames[b], num_labels[b] + 1, starts[b]
        end = num_u - 1 - first[num_t - 1]
        log_likelihood[b] = -np.inf
        if end < 0 or end >= width:
            continue
        alpha, alpha_exponent = pruned_forward(blank[b], label[b], first, num_t, num_u)
        last, last_exponent = split(np.float64(blank[b, num_t - 1, end]))
        total, exponent = alpha[num_t - 1, end] * last, alpha_exponent[num_t - 1, end] + last_exponent
        log_likelihood[b] = log(total, exponent)
        if log_likelihood[b] == -np.inf:
            continue
        after, after_exponent = np.ones(width), np.full(width, np.int64(ZERO_EXPONENT))
        for t in range(num_t - 1, -1, -1):
            shift = first[t + 1] - first[t] if t < num_t - 1 else width
            higher, higher_e = 1.0, np.int64(ZERO_EXPONENT)
            here, here_exponent = np.ones(width), np.full(width, np.int64(ZERO_EXPONENT))
            for s in range(min(width, num_u - first[t]) - 1, -1, -1):
                through_blank, blank_e = 1.0, np.int64(ZERO_EXPONENT)
                through_label, label_e = 1.0, np.int64(ZERO_EXPONENT)
                if t == num_t - 1 and s == end:
                    through_blank, blank_e = last, last_exponent
                elif 0 <= s - shift < width:
                    through_blank, blank_e = split(np.float64(blank[b, t, s]))
                    through_blank *= after[s - shift]
                    blank_e += after_exponent[s - shift]
                if first[t] + s < num_u - 1:
                    through_label, label_e = split(np.float64(label[b, t, s]))
                    through_label *= higher
                    label_e += higher_e
                higher, higher_e = add(through_blank, blank_e, through_label, label_e)
                here[s], here_exponent[s] = higher, higher_e
                before, before_e = alpha[t, s] / total, alpha_exponent[t, s] - exponent
                blank_occupation[b, t, s] = before * through_blank * power(before_e + blank_e)
                label_occupation[b, t, s] = before * through_label * power(before_e + label_e)
            after, after_exponent = here, here_exponent


@kernel
def pruned_forward(blank: Array, label: Array, first: Index, num_t: int, num_u: int) -> tuple[Array, Index]:
    """Forward variables (T, S) of one utterance's arcs (T, S), whose frames start at `first` (T,)."""
    width = blank.shape[1]
    alpha, exponent = np.ones((num_t, width)), np.full((num_t, width), np.int64(ZERO_EXPONENT))
    if first[0] == 0:
        exponent[0, 0] = 0
    for t in range(num_t):
        shift = first[t] - first[t - 1] if t > 0 else width
        for s in range(min(width, num_u - first[t])):
            by_blank, blank_e = alpha[t, s], exponent[t, s]
            by_label, label_e = 1.0, np.int64(ZERO_EXPONENT)
            if 0 <= s + shift < width:
                by_blank, blank_e = split(np.float64(blank[t - 1, s + shift]))
                by_blank *= alpha[t - 1, s + shift]
                blank_e += exponent[t - 1, s + shift]
            if s > 0:
                by_label, label_e = split(np.float64(label[t, s - 1]))
                by_label *= alpha[t, s - 1]
                label_e += exponent[t, s - 1]
            alpha[t, s], exponent[t, s] = add(by_blank, blank_e, by_label, label_e)
    return alpha, exponent
