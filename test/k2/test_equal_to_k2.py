"""Equal to the real k2, ragged lengths included; runs in the environment of tools/install_k2.sh."""

from __future__ import annotations

import pytest
import torch

from dualtk.lattice import (
    Lattice,
    Occupation,
    joint_lattice,
    list_backends,
    prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
)

k2 = pytest.importorskip("k2")
if not hasattr(k2, "rnnt_loss_smoothed"):
    pytest.skip("k2 is not the speech recognition package", allow_module_level=True)

BACKENDS = ["torch", "numba", "k2"]
SIZES = [(1, 6, 1, 5), (3, 9, 4, 7), (4, 40, 12, 20), (2, 12, 12, 5)]


class Batch:
    """Ragged lengths; k2 wants at least as many frames as labels in the padded batch."""

    def __init__(self, batch, frames, labels, vocabulary, seed=0, width=None):
        generator = torch.Generator().manual_seed(seed)
        self.am = torch.randn(batch, frames, width or vocabulary, generator=generator)
        self.lm = torch.randn(batch, labels + 1, width or vocabulary, generator=generator)
        self.targets = torch.randint(1, vocabulary, (batch, labels), generator=generator)
        self.logit_lengths = torch.randint(frames // 2, frames + 1, (batch,), generator=generator)
        self.target_lengths = torch.randint(0, labels + 1, (batch,), generator=generator)
        self.logit_lengths[0], self.target_lengths[0] = frames, labels
        self.args = (self.targets, self.logit_lengths, self.target_lengths)
        self.boundary = torch.zeros(batch, 4, dtype=torch.int64)
        self.boundary[:, 2], self.boundary[:, 3] = self.target_lengths, self.logit_lengths


def with_gradients(function, *tensors):
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    loss = function(*leaves)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaves)


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-4)
    for x, y in zip(found[1], expected[1]):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=2e-5)


def test_this_is_the_real_k2():
    assert {status.name: status.unavailable_reason for status in list_backends()}["k2"] is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [(0.0, 0.0, 0.0), (0.25, 0.0, 0.0), (0.1, 0.2, 0.0), (0.25, 0.1, 0.3)])
def test_smoothed_loss(size, backend, options):
    batch = Batch(*size)
    lm_scale, am_scale, delay_penalty = options
    expected = with_gradients(
        lambda am, lm: k2.rnnt_loss_smoothed(
            lm, am, batch.targets, 0, lm_scale, am_scale, batch.boundary, reduction="none", delay_penalty=delay_penalty
        ),
        batch.am,
        batch.lm,
    )
    settings = {"lm_scale": lm_scale, "am_scale": am_scale, "delay_penalty": delay_penalty, "reduction": "none"}
    found = with_gradients(
        lambda am, lm: rnnt_loss_simple(am, lm, *batch.args, backend=backend, **settings), batch.am, batch.lm
    )
    assert_same(found, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("s_range", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prune_ranges(size, s_range, seed):
    batch = Batch(*size, seed=seed)
    am, lm = batch.am.double(), batch.lm.double()  # so that no two ranges keep the same up to rounding
    _, (px_grad, py_grad) = k2.rnnt_loss_smoothed(lm, am, batch.targets, 0, 0.25, 0.0, batch.boundary, return_grad=True)
    expected = k2.get_rnnt_prune_ranges(px_grad, py_grad, batch.boundary, s_range)
    _, occupation = rnnt_loss_simple(am, lm, *batch.args, lm_scale=0.25, return_occupation=True)
    fits = bool(((s_range - 1) * batch.logit_lengths >= batch.target_lengths).all())
    found = prune_ranges(occupation, *batch.args[1:], s_range)
    if fits:  # where k2's ranges hold no path, ours are wider
        assert torch.equal(found, expected)
    else:
        assert found.shape[2] > expected.shape[2]


def test_prune_ranges_of_the_same_occupation():
    """Bit for bit, given k2's own gradients."""
    batch = Batch(6, 60, 20, 30, seed=3)
    _, (px_grad, py_grad) = k2.rnnt_loss_smoothed(
        batch.lm, batch.am, batch.targets, 0, boundary=batch.boundary, return_grad=True
    )
    blank = py_grad.transpose(1, 2)  # (B, U + 1, T) -> (B, T, U + 1)
    label = torch.nn.functional.pad(px_grad[:, :, :-1].transpose(1, 2), (0, 1))  # (B, U, T) -> (B, T, U + 1)
    found = prune_ranges(Occupation(blank, label), *batch.args[1:], 5)
    assert torch.equal(found, k2.get_rnnt_prune_ranges(px_grad, py_grad, batch.boundary, 5))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("delay_penalty", [0.0, 0.2])
def test_pruned_loss_and_joint(size, backend, delay_penalty):
    """The whole of k2's recipe: prune, join, project, pruned loss."""
    batch = Batch(*size, seed=1, width=6)
    generator = torch.Generator().manual_seed(7)
    weight, bias = torch.randn(size[3], 6, generator=generator), torch.randn(size[3], generator=generator)
    s_range = min(4, size[2] + 1)
    full = joint_lattice(batch.am, batch.lm, weight, bias, *batch.args)
    ranges = prune_ranges(full.occupation(), *batch.args[1:], s_range)

    def theirs(am, lm, weight, bias):
        am, lm = k2.do_rnnt_pruning(am, lm, ranges)
        logits = torch.nn.functional.linear(torch.tanh(am + lm), weight, bias)
        return k2.rnnt_loss_pruned(
            logits, batch.targets, ranges, 0, batch.boundary, reduction="none", delay_penalty=delay_penalty
        )

    def joint(*tensors):
        lattice = joint_lattice(*tensors, *batch.args, ranges=ranges, backend=backend)
        return lattice.loss("none", delay_penalty=delay_penalty, backend=backend)

    def materialised(am, lm, weight, bias):
        am, lm = k2.do_rnnt_pruning(am, lm, ranges)
        logits = torch.nn.functional.linear(torch.tanh(am + lm), weight, bias)
        options = {"reduction": "none", "delay_penalty": delay_penalty, "backend": backend}
        return rnnt_loss_pruned(logits, batch.targets, ranges, *batch.args[1:], **options)

    tensors = (batch.am, batch.lm, weight, bias)
    expected = with_gradients(theirs, *tensors)
    assert_same(with_gradients(joint, *tensors), expected)
    assert_same(with_gradients(materialised, *tensors), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_exact_loss(size, backend):
    batch = Batch(*size)
    logits = batch.am.unsqueeze(2) + torch.tanh(batch.lm).unsqueeze(1)
    expected = with_gradients(lambda x: k2.rnnt_loss(x, batch.targets, 0, batch.boundary, reduction="none"), logits)
    found = with_gradients(lambda x: rnnt_loss(x, *batch.args, reduction="none", backend=backend), logits)
    assert_same(found, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_recursion_is_mutual_information(size, backend):
    batch, frames, labels, _ = size
    inputs = Batch(*size)
    scores = torch.randn(batch, frames, labels + 1, 3, generator=torch.Generator().manual_seed(5)).log_softmax(3)
    scores = scores.double()
    px = torch.full((batch, labels, frames + 1), float("-inf"), dtype=torch.float64)
    px[:, :, :frames] = scores[..., :labels, 1].transpose(1, 2)  # (B, T, U) -> (B, U, T)
    px.scatter_(2, inputs.logit_lengths.view(-1, 1, 1).expand(-1, labels, 1), float("-inf"))
    py = scores[..., 0].transpose(1, 2).contiguous()  # (B, T, U + 1) -> (B, U + 1, T)
    expected, (px_grad, py_grad) = k2.mutual_information_recursion(px, py, inputs.boundary, return_grad=True)
    found = Lattice(scores[..., 0], scores[..., 1], *inputs.args[1:]).score("none", backend=backend)
    torch.testing.assert_close(-found.loss, expected)
    torch.testing.assert_close(found.occupation.blank, py_grad.transpose(1, 2))
    torch.testing.assert_close(found.occupation.label[:, :, :labels], px_grad[:, :, :frames].transpose(1, 2))
