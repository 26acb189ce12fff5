"""How the chunks of a joint are computed: the seam between `joint` and its engines, and the engine in plain torch.

Axes: B batch, T frames, U labels, J joiner width, V vocabulary, N cells of the batch, C cells of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dualtk.lattice.backends import choose
from dualtk.lattice.backends.numba_cpu import NumbaBackend
from dualtk.lattice.cell_list import CellList

if TYPE_CHECKING:
    from dualtk.lattice.joint import JointInputs


@dataclass(frozen=True)
class JointScores:
    """Per cell, each (N,): log-probability of blank, of the label (-inf: there is none), and log-sum-exp in float64."""

    blank: Tensor
    label: Tensor
    normaliser: Tensor


@dataclass(frozen=True)
class JointGradients:
    """Gradients in the shapes of the joint's inputs."""

    encoder: Tensor
    predictor: Tensor
    weight: Tensor | None
    bias: Tensor | None


class JointEngine(Protocol):
    """Computes scores and gradients of the cells of a joint."""

    def forward(self, inputs: JointInputs, cells: CellList, blank: int) -> JointScores:
        """Scores of all cells."""

    def backward(
        self,
        inputs: JointInputs,
        cells: CellList,
        blank: int,
        normaliser: Tensor,
        grad_blank: Tensor,
        grad_label: Tensor,
    ) -> JointGradients:
        """Gradients of the inputs, given those of each cell's two scores, (N,) each."""


def activate(value: Tensor, activation: str) -> Tensor:
    """Apply an activation by name, in place."""
    if activation == "tanh":
        return value.tanh_()
    if activation == "relu":
        return value.relu_()
    return value


def activation_gradient(grad: Tensor, hidden: Tensor, activation: str) -> Tensor:
    """Turn the gradient of `hidden` into that of the activation's input, in place."""
    if activation == "tanh":
        return grad.mul_(1 - hidden * hidden)
    if activation == "relu":
        return grad.mul_(hidden > 0)
    return grad


@dataclass(frozen=True)
class Chunk:
    """One chunk: hidden (C, J) and logits (C, V) in at least float32, with the cells they belong to."""

    cells: slice
    frame: Tensor
    position: Tensor
    label: Tensor
    hidden: Tensor
    logits: Tensor


def chunks(inputs: JointInputs, cells: CellList, size: int) -> Iterator[Chunk]:
    """Compute the logits of `size` cells at a time."""
    encoder, predictor = inputs.encoder.flatten(0, 1), inputs.predictor.flatten(0, 1)
    for start in range(0, cells.index.numel(), size):
        part = slice(start, start + size)
        frame, position = cells.frame[part], cells.position[part]
        hidden = activate(encoder[frame] + predictor[position], inputs.activation)
        logits = hidden
        if inputs.weight is not None:
            hidden = hidden.to(inputs.weight.dtype)
            logits = torch.nn.functional.linear(hidden, inputs.weight, inputs.bias)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        yield Chunk(part, frame, position, cells.label[part], hidden, logits)


@dataclass(frozen=True)
class LogSumExp:
    """log-sum-exp over the last axis in two parts: beside a logit of 1e4 float32 has three digits for the logarithm."""

    high: Tensor
    low: Tensor

    @staticmethod
    def of(logits: Tensor) -> LogSumExp:
        """Reduce (..., V) to (...)."""
        high = logits.amax(-1)
        return LogSumExp(high, (logits - high.unsqueeze(-1)).exp_().sum(-1).log_())

    @staticmethod
    def split(total: Tensor, dtype: torch.dtype) -> LogSumExp:
        """Take the parts out of a float64 total."""
        high = total.to(dtype)
        return LogSumExp(high, (total - high).to(dtype))

    def total(self) -> Tensor:
        """In float64."""
        return self.high.double() + self.low.double()

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Normalise logits (...) that were picked, one for each sum."""
        return (logits - self.high) - self.low


def softmax_gradient(chunk: Chunk, normaliser: Tensor, blank: int, grad_blank: Tensor, grad_label: Tensor) -> Tensor:
    """(C, V) gradient of the logits: each score's own logit, minus the softmax for both."""
    total = grad_blank + grad_label
    parts = LogSumExp.split(normaliser.unsqueeze(1), chunk.logits.dtype)
    grad = parts.log_softmax(chunk.logits).exp_().mul_(-total.unsqueeze(1))
    grad[:, blank] += grad_blank
    grad.scatter_add_(1, chunk.label.clamp(min=0).unsqueeze(1), grad_label.unsqueeze(1))
    return grad


@dataclass(frozen=True)
class TorchEngine:
    """Plain torch, for every device and dtype."""

    chunk: int

    @staticmethod
    def sized(inputs: JointInputs, chunk: int | None) -> TorchEngine:
        """With `chunk` cells at a time, or as many as suit the device."""
        budget = 1 << (20 if inputs.encoder.device.type == "cpu" else 26)  # logits, or activations, that exist at once
        return TorchEngine(chunk or max(64, budget // max(inputs.vocabulary, inputs.encoder.shape[2])))

    def forward(self, inputs: JointInputs, cells: CellList, blank: int) -> JointScores:
        """Scores of all cells."""
        parts = []
        for chunk in chunks(inputs, cells, self.chunk):
            sums = LogSumExp.of(chunk.logits)
            label = sums.log_softmax(chunk.logits.gather(1, chunk.label.clamp(min=0).unsqueeze(1)).squeeze(1))
            label = label.masked_fill(chunk.label < 0, float("-inf"))
            parts.append((sums.log_softmax(chunk.logits[:, blank]), label, sums.total()))
        if not parts:
            return JointScores(*(inputs.encoder.new_empty(0) for _ in range(3)))
        blanks, labels, totals = zip(*parts)
        return JointScores(torch.cat(blanks), torch.cat(labels), torch.cat(totals))

    def backward(
        self,
        inputs: JointInputs,
        cells: CellList,
        blank: int,
        normaliser: Tensor,
        grad_blank: Tensor,
        grad_label: Tensor,
    ) -> JointGradients:
        """Recompute each chunk and add up its gradients, in at least float32."""
        sums = start_gradients(inputs, torch.promote_types(inputs.encoder.dtype, torch.float32))
        grad_label = grad_label.masked_fill(cells.label < 0, 0.0)
        for chunk in chunks(inputs, cells, self.chunk):
            part = chunk.cells
            grad = softmax_gradient(chunk, normaliser[part], blank, grad_blank[part], grad_label[part])
            add_gradients(sums, inputs, chunk, grad)
        return finish_gradients(sums, inputs)


def start_gradients(inputs: JointInputs, dtype: torch.dtype, encoder: Tensor | None = None) -> JointGradients:
    """Zeros in the flattened shapes of the inputs; `encoder`: a sum that is there already."""
    return JointGradients(
        torch.zeros_like(inputs.encoder, dtype=dtype).flatten(0, 1) if encoder is None else encoder,
        torch.zeros_like(inputs.predictor, dtype=dtype).flatten(0, 1),
        None if inputs.weight is None else torch.zeros_like(inputs.weight, dtype=dtype),
        None if inputs.bias is None else torch.zeros_like(inputs.bias, dtype=dtype),
    )


def add_gradients(sums: JointGradients, inputs: JointInputs, chunk: Chunk, grad: Tensor) -> None:
    """Carry the gradient (C, V) of a chunk's logits back to the inputs and add it to `sums`."""
    if inputs.weight is not None:
        low = grad.to(inputs.weight.dtype)
        assert sums.weight is not None
        sums.weight.add_(low.t() @ chunk.hidden)
        if sums.bias is not None:
            sums.bias.add_(grad.sum(0))
        grad = (low @ inputs.weight).to(sums.encoder.dtype)
    grad = activation_gradient(grad, chunk.hidden.to(grad.dtype), inputs.activation)
    add_rows(sums.encoder, chunk.frame, grad)
    add_rows(sums.predictor, chunk.position, grad)


def add_rows(out: Tensor, row: Tensor, value: Tensor) -> None:
    """out[row[c]] += value[c] for out (R, J), row (C,), value (C, J), always in the same order.

    `index_add_` does so on the CPU; on a GPU its additions race, and there the gradient of an embedding is taken, which
    sorts the rows and sums each in parts of fixed size.
    """
    if value.device.type == "cpu":
        out.index_add_(0, row, value)
    else:
        out.add_(sum_rows(row, value, out.shape[0]))


def sum_rows(row: Tensor, value: Tensor, num_rows: int) -> Tensor:
    """(R, J) sums of the rows of value (C, J) that share a `row` (C,)."""
    total: Tensor = torch.ops.aten.embedding_dense_backward(value, row, num_rows, -1, False)
    return total


def finish_gradients(sums: JointGradients, inputs: JointInputs) -> JointGradients:
    """Give the sums the shapes and dtypes of the inputs."""
    return JointGradients(
        sums.encoder.view_as(inputs.encoder).to(inputs.encoder.dtype),
        sums.predictor.view_as(inputs.predictor).to(inputs.predictor.dtype),
        None if sums.weight is None or inputs.weight is None else sums.weight.to(inputs.weight.dtype),
        None if sums.bias is None or inputs.bias is None else sums.bias.to(inputs.bias.dtype),
    )


def choose_engine(backend: str, inputs: JointInputs, chunk: int | None) -> JointEngine:
    """Return the engine for these inputs: compiled for float32 on the CPU unless plain torch is asked for."""
    if can_compile(backend, inputs):
        from dualtk.lattice.backends.numba_joint import NumbaEngine

        return NumbaEngine(chunk or compiled_chunk(inputs))
    return TorchEngine.sized(inputs, chunk)


def can_compile(backend: str, inputs: JointInputs) -> bool:
    """Whether the compiled kernels may read these inputs: float32, on the CPU, and plain torch was not asked for."""
    device, dtype = inputs.encoder.device.type, torch.promote_types(inputs.encoder.dtype, torch.float32)
    tensors = (inputs.encoder, inputs.predictor, inputs.weight, inputs.bias)
    all_float32 = all(x is None or x.dtype == torch.float32 for x in tensors)
    wanted = choose(backend, device, dtype).name != "torch"
    return wanted and device == "cpu" and all_float32 and not NumbaBackend().unusable()


def compiled_chunk(inputs: JointInputs) -> int:
    """Cells whose logits, or activations, fill a megabyte, a share of one core's cache.

    Fewer than 256 starve matrix products: each lays out the weight anew.
    """
    return max(256, (1 << 18) // max(inputs.vocabulary, inputs.encoder.shape[2]))
