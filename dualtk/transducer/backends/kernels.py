"""The compiled CPU kernels: the recursion in float64, and the passes over the vocabulary in float32.

All of a kernel's callees are in this file, since numba's cache only watches the file of the kernel itself.
Exponential and logarithm are written out because loops over numba's own do not vectorise; inside the recursion they are
to the base two, which is cheaper.

Axes: T frames, S cells of a frame, L label positions (U + 1), N anti-diagonals, V vocabulary, J joiner width, R rows.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualtk.transducer.backends.jit import kernel, summing_kernel

Array = NDArray[np.float32]
Index = NDArray[np.int64]

NEVER = -1e300  # log of zero; finite, so that differences of two of them are no NaN
IMPOSSIBLE = -1e200  # below this there was no path
LANES = 16  # rows of a multiple of this many float64 leave the vector loop no rest to do one by one
LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_HIGH = 0.693359375  # its product with a small integer is exact, also in float32
LN2_LOW = -2.121944400546905827679e-4


@kernel
def exp2(x: float) -> float:
    """2 ** x for x <= 1023, NaN kept; the polynomial of degree 11 that is nearest on [-1/2, 1/2], to 3e-18."""
    x = -1021.0 if x < -1021.0 else x
    n = np.floor(x + 0.5)
    r = x - n
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
    return p * np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)


@kernel
def log2_1p(z: float) -> float:
    """log2(1 + z) for z in [0, 1], as 2 atanh(w) / ln 2 with w = z / (2 + z): the nearest polynomial, to 4e-18."""
    w = z / (2.0 + z)
    q = w * w
    p = 0.245895302481250894
    p = p * q + 0.1200972426250948869
    p = p * q + 0.1747128036831406594
    p = p * q + 0.1918838365890802428
    p = p * q + 0.2219819177490447902
    p = p * q + 0.2623070733378305453
    p = p * q + 0.3205989247881797162
    p = p * q + 0.4121985827364002006
    p = p * q + 0.5770780163582651325
    p = p * q + 0.9617966939259681451
    p = p * q + 2.885390081777926818
    return p * w


@kernel
def log_add(a: float, b: float) -> float:
    """log2(2 ** a + 2 ** b); NaN if either is."""
    high = a if a > b else b
    return high + log2_1p(exp2(-abs(a - b)))


@kernel
def exp32(x: np.float32) -> np.float32:
    """exp(x) for x <= 88 in float32, NaN kept; Taylor series of degree 7 on [-ln2/2, ln2/2]."""
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    n = np.floor(x * np.float32(LOG2_E) + np.float32(0.5))
    r = x - n * np.float32(LN2_HIGH) - n * np.float32(LN2_LOW)
    p = np.float32(1 / 5040.0)
    p = p * r + np.float32(1 / 720.0)
    p = p * r + np.float32(1 / 120.0)
    p = p * r + np.float32(1 / 24.0)
    p = p * r + np.float32(1 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel
def row_max(row: Array) -> np.float32:
    """Largest element, or NaN if there is one: bit patterns, made monotonic, compare as integers and vectorise."""
    best = np.int32(-2147483647)
    for j in range(row.shape[0]):
        bits = np.float32(row[j]).view(np.int32)
        bits ^= (bits >> np.int32(31)) & np.int32(0x7FFFFFFF)
        best = bits if bits > best else best
    best ^= (best >> np.int32(31)) & np.int32(0x7FFFFFFF)
    return np.int32(best).view(np.float32)


@summing_kernel
def sum_exp(row: Array, high: np.float32) -> np.float32:
    """sum(exp(row - high))."""
    total = np.float32(0.0)
    for j in range(row.shape[0]):
        total += exp32(row[j] - high)
    return total


@kernel
def row_log_sum_exp(row: Array) -> float:
    """log(sum(exp(row))) in float64: beside a logit of 1e4 float32 has three digits left for the logarithm."""
    high = row_max(row)
    return np.float64(high) + np.log(np.float64(sum_exp(row, high)))


@kernel
def finite_log(value: float) -> float:
    """Log-probability to the base two in float64, with log of zero made finite; NaN kept."""
    value = np.float64(value) * LOG2_E
    return NEVER if value < NEVER else value


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
    """Recursion of utterances start..stop - 1 of full lattices (B, T, L), along skewed rows n = t + u.

    Occupations must come in as zeros; cells beyond an utterance stay so.
    """
    for b in range(start, stop):
        num_t, num_u = num_frames[b], num_labels[b] + 1
        num_n = num_t + num_u - 1
        width = -(-num_u // LANES) * LANES
        by_blank, by_label = np.full((num_n, width), NEVER), np.full((num_n, width + 1), NEVER)
        for t in range(num_t):
            if t < num_t - 1:
                for u in range(num_u):
                    by_blank[t + u, u] = finite_log(blank[b, t, u])
            for u in range(num_u - 1):
                by_label[t + u, u + 1] = finite_log(label[b, t, u])
        last = finite_log(blank[b, num_t - 1, num_u - 1])
        alpha = forward_rows(by_blank, by_label)
        total = alpha[num_n - 1, num_u] + last
        if total < IMPOSSIBLE:
            log_likelihood[b] = -np.inf
            continue
        log_likelihood[b] = total * LN2
        backward_rows(by_blank, by_label, alpha, num_u, last, total)
        for t in range(num_t):
            if t < num_t - 1:
                for u in range(num_u):
                    blank_occupation[b, t, u] = by_blank[t + u, u]
            for u in range(num_u - 1):
                label_occupation[b, t, u] = by_label[t + u, u + 1]
        blank_occupation[b, num_t - 1, num_u - 1] = exp2(alpha[num_n - 1, num_u] + last - total)


@kernel
def forward_rows(by_blank: Array, by_label: Array) -> Array:
    """Forward variables (N, W + 1) of skewed arcs, blank (N, W) and label (N, W + 1).

    Position u is in column u + 1 of the result, and so is the label arc that leaves it: column 0 stands for what would
    be before the first label. Rows are whole, with NEVER where there is no cell, and as wide as a multiple of LANES.
    """
    num_n, width = by_blank.shape
    alpha = np.full((num_n, width + 1), NEVER)
    alpha[0, 1] = 0.0
    for n in range(1, num_n):
        forward_row(alpha[n - 1, 1:], by_blank[n - 1], alpha[n - 1, :width], by_label[n - 1, :width], alpha[n, 1:])
    return alpha


@kernel
def forward_row(same: Array, blank: Array, lower: Array, label: Array, out: Array) -> None:
    """One anti-diagonal from the one before; slices that all start at zero let the loop vectorise."""
    for i in range(out.shape[0]):
        out[i] = log_add(same[i] + blank[i], lower[i] + label[i])


@kernel
def backward_rows(by_blank: Array, by_label: Array, alpha: Array, num_u: int, last: float, total: float) -> None:
    """Replace skewed arcs by their posteriors; the same columns as in `forward_rows`."""
    num_n, width = by_blank.shape
    after, here = np.full(width + 1, NEVER), np.full(width + 1, NEVER)
    after[num_u - 1] = last
    for n in range(num_n - 2, -1, -1):
        backward_row(by_blank[n], by_label[n, 1:], after[:width], after[1:], here[:width], alpha[n, 1:], total)
        after, here = here, after


@kernel
def backward_row(
    blank: Array, label: Array, same: Array, higher: Array, out: Array, alpha: Array, total: float
) -> None:
    """One anti-diagonal of backward variables from the one after; arcs become posteriors."""
    for i in range(out.shape[0]):
        through_blank = blank[i] + same[i]
        through_label = label[i] + higher[i]
        high = through_blank if through_blank > through_label else through_label
        ratio = exp2(-abs(through_blank - through_label))
        out[i] = high + log2_1p(ratio)
        larger = exp2(alpha[i] - total + high)
        blank[i] = larger if through_blank >= through_label else larger * ratio
        label[i] = larger * ratio if through_blank >= through_label else larger


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
    """Recursion of utterances start..stop - 1 of pruned lattices (B, T, S) whose frames start at `starts` (B, T)."""
    width = blank.shape[2]
    for b in range(start, stop):
        num_t, num_u = num_frames[b], num_labels[b] + 1
        first = starts[b]
        alpha = np.full((num_t, width), NEVER)
        if first[0] == 0:
            alpha[0, 0] = 0.0
        for t in range(num_t):
            shift = first[t] - first[t - 1] if t > 0 else width
            for s in range(min(width, num_u - first[t])):
                value = alpha[t, s]
                if 0 <= s + shift < width:
                    value = alpha[t - 1, s + shift] + finite_log(blank[b, t - 1, s + shift])
                if s > 0:
                    value = log_add(value, alpha[t, s - 1] + finite_log(label[b, t, s - 1]))
                alpha[t, s] = value
        end = num_u - 1 - first[num_t - 1]
        log_likelihood[b] = -np.inf
        if end < 0 or end >= width:
            continue
        last = finite_log(blank[b, num_t - 1, end])
        total = alpha[num_t - 1, end] + last
        if total < IMPOSSIBLE:
            continue
        log_likelihood[b] = total * LN2
        after, here = np.full(width, NEVER), np.full(width + 1, NEVER)
        for t in range(num_t - 1, -1, -1):
            shift = first[t + 1] - first[t] if t < num_t - 1 else width
            here[:] = NEVER
            for s in range(min(width, num_u - first[t]) - 1, -1, -1):
                through_blank, through_label = NEVER, NEVER
                if t == num_t - 1 and s == end:
                    through_blank = last
                elif 0 <= s - shift < width:
                    through_blank = finite_log(blank[b, t, s]) + after[s - shift]
                if first[t] + s < num_u - 1:
                    through_label = finite_log(label[b, t, s]) + here[s + 1]
                here[s] = log_add(through_blank, through_label)
                offset = alpha[t, s] - total
                blank_occupation[b, t, s] = exp2(offset + through_blank)
                label_occupation[b, t, s] = exp2(offset + through_label)
            after[:] = here[:width]


@kernel
def score_rows(
    logits: Array,
    label: Index,
    blank: int,
    normaliser: Array,
    blank_score: Array,
    label_score: Array,
    start: int,
    stop: int,
) -> None:
    """Log-probabilities of rows start..stop - 1 of logits (R, V); label -1: none left, -2: no cell."""
    for r in range(start, stop):
        normaliser[r], blank_score[r], label_score[r] = 0.0, -np.inf, -np.inf
        if label[r] == -2:
            continue
        total = row_log_sum_exp(logits[r])
        normaliser[r] = total
        blank_score[r] = logits[r, blank] - total
        if label[r] >= 0:
            label_score[r] = logits[r, label[r]] - total


@kernel
def softmax_gradient(
    row: Array, label: int, blank: int, normaliser: float, for_blank: np.float32, for_label: np.float32
) -> None:
    """Turn a row of logits into their gradient, given those of the two scores."""
    high = np.float32(normaliser)
    low = np.float32(normaliser - high)
    if label < 0:
        for_label = np.float32(0.0)
    total = -(for_blank + for_label)
    for j in range(row.shape[0]):
        row[j] = total * exp32((row[j] - high) - low)
    row[blank] += for_blank
    if label >= 0:
        row[label] += for_label


@kernel
def gradient_rows(
    logits: Array,
    label: Index,
    blank: int,
    normaliser: Array,
    for_blank: Array,
    for_label: Array,
    out: Array,
    start: int,
    stop: int,
) -> None:
    """Write the gradient of rows start..stop - 1 of logits (R, V) to `out`, zero where there is no cell."""
    for r in range(start, stop):
        if label[r] == -2:
            out[r, :] = 0.0
        else:
            out[r, :] = logits[r, :]
            softmax_gradient(out[r], label[r], blank, normaliser[r], for_blank[r], for_label[r])


@kernel
def gradient_in_place(
    rows: Array, label: Index, blank: int, normaliser: Array, for_blank: Array, for_label: Array
) -> None:
    """Turn logits (R, V) into their gradient."""
    for r in range(rows.shape[0]):
        softmax_gradient(rows[r], label[r], blank, normaliser[r], for_blank[r], for_label[r])


@kernel
def hidden_rows(encoder: Array, predictor: Array, frame: Index, position: Index, activation: int, out: Array) -> None:
    """out (R, J) = activation(encoder[frame] + predictor[position]); 0 identity, 1 tanh, 2 relu."""
    for r in range(frame.shape[0]):
        left, right, row = encoder[frame[r]], predictor[position[r]], out[r]
        for j in range(row.shape[0]):
            row[j] = left[j] + right[j]
        if activation == 1:
            for j in range(row.shape[0]):
                x = row[j]
                e = exp32(np.float32(-2.0) * abs(x))
                size = (np.float32(1.0) - e) / (np.float32(1.0) + e)
                row[j] = size if x >= 0 else -size
        elif activation == 2:
            for j in range(row.shape[0]):
                row[j] = np.float32(0.0) if row[j] < 0 else row[j]


@kernel
def scatter_hidden(
    grad: Array, hidden: Array, frame: Index, position: Index, activation: int, encoder: Array, predictor: Array
) -> None:
    """Carry grad (R, J) of hidden (R, J) back through the activation and add it to encoder and predictor rows."""
    for r in range(frame.shape[0]):
        row, value, left, right = grad[r], hidden[r], encoder[frame[r]], predictor[position[r]]
        if activation == 1:
            for j in range(row.shape[0]):
                row[j] *= np.float32(1.0) - value[j] * value[j]
        elif activation == 2:
            for j in range(row.shape[0]):
                row[j] = row[j] if value[j] > 0 else np.float32(0.0)
        for j in range(row.shape[0]):
            left[j] += row[j]
        for j in range(row.shape[0]):
            right[j] += row[j]
