"""The one place that touches the vocabulary axis of a joiner: from its inputs straight to the lattice.

The logits of a chunk of cells are made, reduced to what the lattice needs, and forgotten; backward makes them again.
So the (B, T, U + 1, V) tensor never exists, and cells beyond an utterance or outside its prune range cost nothing.

Axes: B batch, T frames, U labels, S cells of a frame (U + 1, or the prune range), J joiner width, V vocabulary,
N cells of the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualtk.lattice.backends.base import LOG_ZERO, JointEngine
from dualtk.lattice.cell_list import CellList, make_cell_list
from dualtk.lattice.check import check_ranges, check_shape, check_targets, class_of_blank
from dualtk.lattice.engines import choose
from dualtk.lattice.gradients import entry_point, first_derivative, without_autocast
from dualtk.lattice.inputs import JointInputs
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.simple import simple_lattice


def joint_lattice(
    encoder: Tensor,
    predictor: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    targets: Tensor,
    logit_lengths: Tensor,
    target_lengths: Tensor,
    *,
    ranges: Tensor | None = None,
    activation: str = "tanh",
    blank: int = 0,
    chunk: int | None = None,
    backend: str = "auto",
) -> Lattice:
    """Turn a joiner's inputs into the lattice without ever holding its logits.

    Args:
        encoder: (B, T, J) projected encoder output.
        predictor: (B, U + 1, J) projected predictor output.
        weight: (V, J) output layer; for an additive joint, where J = V, None or a factor (1,) of its activation.
        bias: (V,) or None.
        targets: (B, U) labels.
        logit_lengths: (B,) frames of each utterance.
        target_lengths: (B,) labels of each utterance.
        ranges: (B, T, S) label positions of the cells to keep; None: all.
        activation: "tanh", "relu" or "identity".
        blank: class of blank; a negative one counts from the end of the vocabulary.
        chunk: number of cells whose logits exist at the same time; None: chosen for the device.
        backend: a name from `list_backends()`; "torch" keeps to plain torch.

    Raises:
        InputError: shapes do not fit, or a label, length or range is impossible; names the argument or the utterance.
    """
    # Under autocast the two sides come in half precision, and the layer does not.
    layer = () if weight is None else (weight.dtype,)
    inputs = JointInputs(encoder, predictor, weight, bias, activation).promoted(*layer)
    engines = choose(backend, encoder.device.type, *inputs.dtypes)
    if weight is None and activation == "identity" and ranges is None:
        return simple_lattice(inputs.encoder, inputs.predictor, targets, logit_lengths, target_lengths, blank)
    check_shape("targets", targets, encoder.shape[0], None)
    check_shape("predictor", predictor, encoder.shape[0], targets.shape[1] + 1, None)
    ranges = check_ranges(ranges, encoder.shape[0], encoder.shape[1], targets.shape[1])
    blank = class_of_blank(blank, inputs.vocabulary)
    check_targets(targets, logit_lengths, target_lengths, encoder.shape[1], inputs.vocabulary, blank)
    cells = make_cell_list(targets, logit_lengths, target_lengths, encoder.shape[1], ranges)
    engine = engines.joint_engine(inputs, chunk)
    blank_scores, label_scores = _joint_scores(*inputs.tensors, activation, cells, blank, engine)
    return Lattice(blank_scores, label_scores, logit_lengths, target_lengths, ranges, targets.shape[1])


class _JointScores(torch.autograd.Function):
    """Dense (B, T, S) log-probabilities of blank and label; backward recomputes the logits chunk by chunk."""

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        encoder: Tensor,
        predictor: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        activation: str,
        cells: CellList,
        blank: int,
        engine: JointEngine,
    ) -> tuple[Tensor, Tensor]:
        inputs = JointInputs(encoder.detach(), predictor.detach(), weight, bias, activation)
        scores = engine.forward(inputs, cells, blank)
        ctx.save_for_backward(encoder, predictor, weight, bias, scores.normaliser)
        ctx.setting = (activation, cells, blank, engine)
        return cells.dense(scores.blank, LOG_ZERO), cells.dense(scores.label, LOG_ZERO)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, *grads: Tensor) -> Any:
        encoder, predictor, weight, bias, normaliser = ctx.saved_tensors
        activation, cells, blank, engine = ctx.setting
        inputs = JointInputs(encoder, predictor, weight, bias, activation)
        grad_blank, grad_label = (cells.flat(grad) for grad in grads)
        found = engine.backward(inputs, cells, blank, normaliser, grad_blank, grad_label)
        return found.encoder, found.predictor, found.weight, found.bias, None, None, None, None


_joint_scores = entry_point(_JointScores)
