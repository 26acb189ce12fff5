"""The compiled passes over the vocabulary and the joiner's width on the CPU, in float32.

All of a kernel's callees are in this file, since numba's cache only watches the file of the kernel itself.
The exponential is written out because loops over numba's own do not vectorise.

Axes: V vocabulary, J joiner width, R rows.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dualtk.jit import LOG2_E, kernel, summing_kernel
from dualtk.lattice.cell_list import NO_CELL

Array = NDArray[np.float32]
Index = NDArray[np.int64]

LN2_HIGH = 0.693359375  # its product with a small integer is exact, also in float32
LN2_LOW = -2.121944400546905827679e-4
IDENTITY, TANH, RELU = 0, 1, 2
ACTIVATIONS = {"identity": IDENTITY, "tanh": TANH, "relu": RELU}


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
    """Log-probabilities of rows start..stop - 1 of logits (R, V); a label may be NO_LABEL or NO_CELL."""
    for r in range(start, stop):
        normaliser[r], blank_score[r], label_score[r] = 0.0, -np.inf, -np.inf
        if label[r] == NO_CELL:
            continue
        total = row_log_sum_exp(logits[r])
        normaliser[r] = total
        blank_score[r] = logits[r, blank] - total
        if label[r] >= 0:
            label_score[r] = logits[r, label[r]] - total


@kernel
def softmax_gradient(
    row: Array, label: int, blank: int, normaliser: float, for_blank: np.float32, for_label: np.float32, out: Array
) -> None:
    """Write the gradient of a row of logits, given those of the two scores, to another row or in its place."""
    high = np.float32(normaliser)
    low = np.float32(normaliser - high)
    if label < 0:
        for_label = np.float32(0.0)
    total = -(for_blank + for_label)
    if out.ctypes.data == row.ctypes.data:  # named once: a loop over two arrays that overlap would not vectorise
        for j in range(row.shape[0]):
            row[j] = total * exp32((row[j] - high) - low)
    else:
        for j in range(row.shape[0]):
            out[j] = total * exp32((row[j] - high) - low)
    out[blank] += for_blank
    if label >= 0:
        out[label] += for_label


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
        if label[r] == NO_CELL:
            out[r, :] = 0.0
        else:
            softmax_gradient(logits[r], label[r], blank, normaliser[r], for_blank[r], for_label[r], out[r])


@kernel
def hidden_rows(encoder: Array, predictor: Array, frame: Index, position: Index, activation: int, out: Array) -> None:
    """out (R, J) = activation(encoder[frame] + predictor[position]), by a number of ACTIVATIONS."""
    for r in range(frame.shape[0]):
        left, right, row = encoder[frame[r]], predictor[position[r]], out[r]
        for j in range(row.shape[0]):
            row[j] = left[j] + right[j]
        if activation == TANH:
            for j in range(row.shape[0]):
                x = row[j]
                e = exp32(np.float32(-2.0) * abs(x))
                size = (np.float32(1.0) - e) / (np.float32(1.0) + e)
                row[j] = size if x >= 0 else -size
        elif activation == RELU:
            for j in range(row.shape[0]):
                row[j] = np.float32(0.0) if row[j] < 0 else row[j]


@kernel
def scatter_hidden(
    grad: Array, hidden: Array, frame: Index, position: Index, activation: int, encoder: Array, predictor: Array
) -> None:
    """Carry grad (R, J) of hidden (R, J) back through the activation and add it to encoder and predictor rows."""
    for r in range(frame.shape[0]):
        row, value, left, right = grad[r], hidden[r], encoder[frame[r]], predictor[position[r]]
        if activation == TANH:
            for j in range(row.shape[0]):
                row[j] *= np.float32(1.0) - value[j] * value[j]
        elif activation == RELU:
            for j in range(row.shape[0]):
                row[j] = row[j] if value[j] > 0 else np.float32(0.0)
        for j in range(row.shape[0]):
            left[j] += row[j]
        for j in range(row.shape[0]):
            right[j] += row[j]


@kernel
def normalise_row(row: Array, scale: np.float32) -> None:
    """Replace a row by its log-probabilities after multiplication by `scale`."""
    if scale != np.float32(1.0):
        for j in range(row.shape[0]):
            row[j] *= scale
    high = row_max(row)
    low = np.log(sum_exp(row, high))
    for j in range(row.shape[0]):
        row[j] = (row[j] - high) - low


@summing_kernel
def divergence(student: Array, teacher: Array) -> np.float32:
    """Sum of exp(teacher) * (teacher - student); what the teacher rules out (-inf) adds nothing."""
    total = np.float32(0.0)
    for j in range(student.shape[0]):
        term = exp32(teacher[j]) * (teacher[j] - student[j])
        total += np.float32(0.0) if teacher[j] < np.float32(-87.0) else term
    return total


@kernel
def divergence_rows(student: Array, teacher: Array, scale: float, out: Array) -> None:
    """KL(teacher || student) of each row of logits (R, V), both multiplied by `scale`; overwrites the logits."""
    for r in range(out.shape[0]):
        normalise_row(student[r], np.float32(scale))
        normalise_row(teacher[r], np.float32(scale))
        out[r] = divergence(student[r], teacher[r])


@kernel
def divergence_gradient_rows(student: Array, teacher: Array, scale: float, weight: Array) -> None:
    """Replace the student's logits (R, V) by weight times the gradient of the KL with respect to scaled logits."""
    for r in range(weight.shape[0]):
        normalise_row(student[r], np.float32(scale))
        normalise_row(teacher[r], np.float32(scale))
        left, right = student[r], teacher[r]
        for j in range(left.shape[0]):
            left[j] = weight[r] * (exp32(left[j]) - exp32(right[j]))
