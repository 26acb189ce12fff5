"""What does not fit together is refused by name, before a kernel reads or writes out of bounds."""

from __future__ import annotations

import pytest
import torch

from dualtk.errors import InputError
from dualtk.lattice import (
    JointInputs,
    Lattice,
    Occupation,
    Softening,
    joint_kl,
    joint_lattice,
    logits_lattice,
    prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
    simple_lattice,
)

B, T, U, V, J = 3, 7, 4, 6, 5
RANGES = torch.arange(3).expand(B, T, -1)


def logits_of(batch, ranges):
    return batch.logits if ranges is None else batch.logits[:, :, : ranges.shape[2]].contiguous()


def sides(batch=B, frames=T, positions=U + 1, width=J):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, rows, width, generator=generator) for rows in (frames, positions)]


LAYER = [torch.randn(V, J), torch.randn(V)]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, T, U + 1, V), r"logits must have the shape \(3, \*, 5, \*\), not \(1, 7, 5, 6\)"),
        ((B + 1, T, U + 1, V), r"not \(4, 7, 5, 6\)"),
        ((B, T, U, V), r"not \(3, 7, 4, 6\)"),
        ((B, T, U + 2, V), r"not \(3, 7, 6, 6\)"),
        ((B, T, V), r"not \(3, 7, 6\)"),
    ],
)
def test_logits_of_another_shape_than_the_targets(make_batch, shape, message, backend):
    with pytest.raises(InputError, match=message):
        rnnt_loss(torch.zeros(shape), *make_batch().args, backend=backend)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("ranges", [None, RANGES])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch": 1}, r"targets must have the shape \(1, \*\), not \(3, 4\)"),
        ({"batch": 4}, r"targets must have the shape \(4, \*\), not \(3, 4\)"),
        ({"positions": U}, r"predictor must have the shape \(3, 5, \*\), not \(3, 4, 5\)"),
        ({"positions": U + 2}, r"predictor must have the shape \(3, 5, \*\), not \(3, 6, 5\)"),
    ],
)
def test_joints_of_another_shape_than_the_targets(make_batch, given, message, ranges, backend):
    with pytest.raises(InputError, match=message):
        joint_lattice(*sides(**given), *LAYER, *make_batch().args, ranges=ranges, backend=backend)


def test_parts_of_a_joint_that_do_not_fit_each_other():
    encoder, predictor = sides()
    with pytest.raises(InputError, match=r"predictor must have the shape \(3, \*, 5\), not \(1, 5, 5\)"):
        JointInputs(encoder, predictor[:1], *LAYER)
    with pytest.raises(InputError, match=r"weight must have the shape \(\*, 5\), not \(6, 4\)"):
        JointInputs(encoder, predictor, LAYER[0][:, :4])
    with pytest.raises(InputError, match=r"bias must have the shape \(6\), not \(1\)"):
        JointInputs(encoder, predictor, LAYER[0], LAYER[1][:1])


@pytest.mark.parametrize("am_scale", [0.0, 0.1])
@pytest.mark.parametrize(
    ("am", "lm", "message"),
    [
        ((1, T, V), (B, U + 1, V), r"am must have the shape \(3, \*, \*\), not \(1, 7, 6\)"),
        ((B, T, V), (1, U + 1, V), r"lm must have the shape \(3, 5, 6\), not \(1, 5, 6\)"),
        ((B, T, V), (B, 1, V), r"lm must have the shape \(3, 5, 6\), not \(3, 1, 6\)"),
        ((B, T, V), (B, U + 2, V), r"lm must have the shape \(3, 5, 6\), not \(3, 6, 6\)"),
        ((B, T, V), (B, U + 1, V + 1), r"lm must have the shape \(3, 5, 6\), not \(3, 5, 7\)"),
    ],
)
def test_sides_of_the_simple_loss(make_batch, am, lm, message, am_scale):
    with pytest.raises(InputError, match=message):
        rnnt_loss_simple(torch.zeros(am), torch.zeros(lm), *make_batch().args, am_scale=am_scale)


BAD_RANGES = [
    (RANGES[:1], r"ranges must have the shape \(3, 7, \*\), not \(1, 7, 3\)"),
    (RANGES[:, :-1], r"ranges must have the shape \(3, 7, \*\), not \(3, 6, 3\)"),
    (RANGES - 1, r"utterance 0 of the batch: ranges of frame 0 are \[-1, 0, 1\], expected .* within 0\.\.4"),
    (RANGES + 5 * (torch.arange(B * T).view(B, T, 1) == 9), r"utterance 1 .* frame 2 are \[5, 6, 7\], expected"),
    (RANGES * 2, r"ranges of frame 0 are \[0, 2, 4\], expected consecutive positions"),
]


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize(("ranges", "message"), BAD_RANGES)
def test_ranges_outside_the_lattice(make_batch, ranges, message, backend):
    batch = make_batch()
    inputs = JointInputs(*sides(), *LAYER)
    with pytest.raises(InputError, match=message):
        logits_lattice(logits_of(batch, ranges), *batch.args, ranges=ranges, backend=backend)
    with pytest.raises(InputError, match=message):
        joint_lattice(*sides(), *LAYER, *batch.args, ranges=ranges, backend=backend)
    with pytest.raises(InputError, match=message):
        joint_kl(inputs, inputs, *batch.args[1:], ranges=ranges, backend=backend)


def test_lengths_and_targets_of_another_shape(make_batch):
    batch = make_batch()
    targets, frames, labels = batch.args
    inputs = JointInputs(*sides(), *LAYER)
    for short in ((frames[:2], labels), (frames, labels[:1])):
        with pytest.raises(InputError, match=r"_lengths must have the shape \(3\), not \([12]\)"):
            rnnt_loss(batch.logits, targets, *short)
        with pytest.raises(InputError, match=r"_lengths must have the shape \(3\), not \([12]\)"):
            joint_kl(inputs, inputs, *short)
    with pytest.raises(InputError, match=r"targets must have the shape \(\*, \*\), not \(12\)"):
        rnnt_loss(batch.logits, targets.flatten(), frames, labels)


def test_a_lattice_whose_parts_do_not_fit(make_batch):
    lattice = logits_lattice(make_batch().logits, *make_batch().args)
    parts = (lattice.blank, lattice.label, lattice.logit_lengths, lattice.target_lengths, RANGES)
    for k, name in enumerate(("label", "logit_lengths", "target_lengths", "ranges"), start=1):
        cut = [x[:1] if j == k else x for j, x in enumerate(parts[: max(k + 1, 4)])]
        with pytest.raises(InputError, match=f"{name} must have the shape"):
            Lattice(*cut)


def test_occupations_that_are_not_of_the_same_batch(make_batch):
    batch = make_batch()
    occupation = logits_lattice(batch.logits, *batch.args).occupation()
    part = Occupation(occupation.blank[:1], occupation.label[:1])
    with pytest.raises(InputError, match=r"another occupation must have the shape \(3, 7, 5\), not \(1, 7, 5\)"):
        prune_ranges(occupation, *batch.args[1:], 3, part)
    with pytest.raises(InputError, match=r"logit_lengths must have the shape \(1\), not \(3\)"):
        prune_ranges(part, *batch.args[1:], 3)


def losses_with_blank(batch, blank):
    """Every public function that takes the class of blank."""
    targets, *lengths = batch.args
    am, lm = batch.logits[:, :, 0], batch.logits[:, 0]
    yield lambda: rnnt_loss(batch.logits, *batch.args, blank=blank)
    yield lambda: rnnt_loss_pruned(batch.logits, targets, torch.arange(U + 1).expand(B, T, -1), *lengths, blank=blank)
    yield lambda: rnnt_loss_simple(am, lm, *batch.args, blank=blank, lm_scale=0.1, am_scale=0.1)
    yield lambda: logits_lattice(batch.logits, *batch.args, blank=blank).loss()
    yield lambda: simple_lattice(am, lm, *batch.args, blank=blank).loss()
    yield lambda: joint_lattice(*sides(), *LAYER, *batch.args, blank=blank).loss()
    yield lambda: joint_lattice(am, lm, None, None, *batch.args, blank=blank, activation="identity").loss()


@pytest.mark.parametrize("blank", [V, V + 3, -V - 1])
def test_a_blank_outside_the_vocabulary(make_batch, blank):
    for loss in losses_with_blank(make_batch(blank=V - 1), blank):
        with pytest.raises(InputError, match=f"blank {blank} is outside the vocabulary of 6"):
            loss()


@pytest.mark.parametrize("blank", [0, V - 1])
def test_a_negative_blank_counts_from_the_end(make_batch, blank):
    batch = make_batch(blank=blank)
    for positive, negative in zip(losses_with_blank(batch, blank), losses_with_blank(batch, blank - V)):
        assert positive().item() == negative().item()


def test_a_backend_that_does_not_exist_is_refused_where_only_torch_runs_too(make_batch):
    inputs, args = sides(width=V), make_batch().args
    joint = JointInputs(*inputs)
    for activation in ("identity", "tanh"):
        with pytest.raises(ValueError, match="no transducer backend is called 'nonsense'"):
            joint_lattice(*inputs, None, None, *args, activation=activation, backend="nonsense")
    with pytest.raises(ValueError, match="no transducer backend is called 'nonsense'"):
        joint_kl(joint, joint, *args[1:], softening=Softening(top_k=2), backend="nonsense")
