"""The divergence of chunked joints against that of logits that are held in full."""

from __future__ import annotations

import pytest
import torch
from joint_inputs import ACTIVATIONS, full_logits, make_cells, random_inputs

from dualtk.lattice import (
    JointInputs,
    Softening,
    joint_kl,
)


@pytest.mark.parametrize("softening", [None, Softening(2.0), Softening(1.0, 2), Softening(3.0, 4), Softening(1.0, 6)])
def test_kl_of_every_cell(make_batch, softening):
    batch = make_batch()
    student, teacher = (JointInputs(*random_inputs(batch, 5, seed=k, dtype=torch.float64)) for k in (0, 1))
    temperature, top_k = (softening.temperature, softening.top_k) if softening else (1.0, None)
    tensors = [(x.encoder, x.predictor, x.weight, x.bias) for x in (student, teacher)]
    ours, theirs = (full_logits(x, "tanh").div(temperature).softmax(3) for x in tensors)
    if top_k is not None and top_k < 6:
        index = theirs.topk(top_k, dim=3).indices
        ours, theirs = (
            torch.cat([p.gather(3, index), 1 - p.gather(3, index).sum(3, keepdim=True)], 3) for p in (ours, theirs)
        )
    expected = (theirs * (theirs.log() - ours.log())).sum(3)
    inside = torch.arange(7).view(1, -1, 1) < batch.logit_lengths.view(-1, 1, 1)
    inside = inside & (torch.arange(5) <= batch.target_lengths.view(-1, 1, 1))
    found = joint_kl(student, teacher, *batch.args[1:], softening=softening, chunk=9)
    torch.testing.assert_close(found, expected * inside)


@pytest.mark.parametrize("top_k", [None, 2])
def test_kl_gradient_by_finite_differences(make_batch, top_k):
    batch = make_batch(2, 3, 2)
    teacher = JointInputs(*random_inputs(batch, 4, seed=1, dtype=torch.float64))

    def kl(*tensors):
        return joint_kl(JointInputs(*tensors), teacher, *batch.args[1:], softening=Softening(2.0, top_k), chunk=5)

    inputs = random_inputs(batch, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(kl, tuple(inputs))
    kl(*inputs).sum().backward()
    assert teacher.weight is not None
    assert teacher.weight.grad is None


@pytest.mark.parametrize("chunk", [4, None])
def test_kl_of_a_student_whose_logits_are_a_multiple_of_tanh(make_batch, chunk):
    batch = make_batch()
    sides = [random_inputs(batch, 6, seed=k, layer=False) for k in (0, 1)]
    factor = torch.tensor([1.7], requires_grad=True)
    expected = [(scale * full_logits(x, "tanh")).log_softmax(3) for scale, x in zip((factor, 2.0), sides)]
    whole = (expected[1].exp() * (expected[1] - expected[0])).sum(3).detach_().masked_fill(~make_cells(batch), 0.0)
    teacher = JointInputs(*sides[1], torch.tensor([2.0]))
    found = {}
    for backend in ("torch", "numba"):
        kl = joint_kl(JointInputs(*sides[0], factor), teacher, *batch.args[1:], chunk=chunk, backend=backend)
        torch.testing.assert_close(kl, whole, rtol=1e-5, atol=1e-5)
        found[backend] = torch.autograd.grad(kl.square().sum(), [*sides[0], factor])
    for one, other in zip(found["torch"], found["numba"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("layers", [(True, True), (False, False), (False, True)])
@pytest.mark.parametrize("chunk", [4, None])
def test_compiled_kl_is_that_of_torch(make_batch, temperature, activation, layers, chunk):
    batch = make_batch()
    sides = [random_inputs(batch, 5 if layer else 6, seed=k, layer=layer) for k, layer in enumerate(layers)]
    cell_weight = torch.rand(3, 7, 5)
    cell_weight[0, 2] = 0.0  # as where a cell is not compared

    def kl(dtype, backend):
        student, teacher = ([None if x is None else x.detach().to(dtype) for x in side] for side in sides)
        leaves = [x.requires_grad_() for x in student if x is not None]
        inputs = (JointInputs(*side, activation=activation) for side in (student, teacher))
        softening = Softening(temperature)
        found = joint_kl(*inputs, *batch.args[1:], softening=softening, chunk=chunk, backend=backend)
        return found, *torch.autograd.grad((found * cell_weight).sum(), leaves)

    for ours, expected in zip(kl(torch.float32, "numba"), kl(torch.float64, "torch"), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=2e-6)


def test_compiled_kl_of_certain_networks_is_finite(make_batch):
    batch = make_batch()
    student, teacher = ([1e4 * x.detach() for x in random_inputs(batch, 6, seed=k, layer=False)[:2]] for k in (0, 1))
    leaves = [x.requires_grad_() for x in student]
    inputs = (JointInputs(*side, activation="identity") for side in (student, teacher))
    found = joint_kl(*inputs, *batch.args[1:], backend="numba")
    assert found.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(found.sum(), leaves))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("banned_by", ["both", "teacher"])
@pytest.mark.parametrize("softening", [None, Softening(2.0), Softening(1.0, 2), Softening(1.0, 5)])
def test_a_class_that_is_banned_by_its_bias_adds_nothing_to_the_divergence(make_batch, softening, banned_by, backend):
    """Equal to the divergence over the other classes, of which the student's are left as probable as they were."""
    batch = make_batch()
    sides = [random_inputs(batch, seed=k) for k in (0, 1)]
    never = torch.tensor([0.0, 0.0, 0.0, float("-inf"), 0.0, 0.0])
    student, teacher = ([*side[:3], side[3] + never] for side in sides)
    if banned_by == "teacher":
        student = sides[0]

    def kl(student, teacher):
        inputs = (JointInputs(*side) for side in (student, teacher))
        found = joint_kl(*inputs, *batch.args[1:], softening=softening, backend=backend)
        return found, *torch.autograd.grad(found.sum(), sides[0])

    found = kl(student, teacher)
    assert all(x.isfinite().all() for x in found)
    low = never.clamp(min=-1e4)  # as good as never
    expected = kl(
        student if banned_by == "teacher" else [*sides[0][:3], sides[0][3] + low],
        [*sides[1][:3], sides[1][3] + low],
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_what_the_teacher_allows_and_the_student_bans_diverges(make_batch, backend):
    batch = make_batch()
    student, teacher = (random_inputs(batch, seed=k) for k in (0, 1))
    never = torch.tensor([0.0, 0.0, 0.0, float("-inf"), 0.0, 0.0])
    inputs = (JointInputs(*student[:3], student[3] + never), JointInputs(*teacher))
    found = joint_kl(*inputs, *batch.args[1:], backend=backend)
    inside = make_cells(batch)
    assert (found[inside] == float("inf")).all()
    assert not found[~inside].any()


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_nan_of_one_utterance_reaches_no_other_divergence(make_batch, backend):
    batch = make_batch()
    healthy, teacher = (random_inputs(batch, seed=k) for k in (0, 1))
    broken = [x.detach().clone().requires_grad_() for x in healthy]
    with torch.no_grad():
        broken[0][1, 0, 0] = float("nan")

    def kl(student):
        inputs = (JointInputs(*side) for side in (student, teacher))
        found = joint_kl(*inputs, *batch.args[1:], backend=backend)
        return found, *torch.autograd.grad(found.sum(), student[:2])

    for ours, expected in zip(kl(broken), kl(healthy), strict=True):
        assert ours[1].isnan().any()
        torch.testing.assert_close(ours[[0, 2]], expected[[0, 2]])


def test_kl_of_an_empty_batch():
    encoder, predictor, weight = torch.zeros(0, 5, 4, requires_grad=True), torch.zeros(0, 3, 4), torch.zeros(6, 4)
    lengths = torch.zeros(0, dtype=torch.int64)
    inputs = JointInputs(encoder, predictor, weight)
    found = joint_kl(inputs, inputs, lengths, lengths)
    found.sum().backward()
    assert found.shape == (0, 5, 3)
    assert encoder.grad.shape == (0, 5, 4)
