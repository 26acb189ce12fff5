"""The three-way KL against its definition, cell by cell."""

from __future__ import annotations

import math

import pytest
import torch

from dualtk.lattice import Lattice, logits_lattice, three_way


def pair(make_batch):
    student, teacher = make_batch(seed=1), make_batch(seed=2)
    lattices = [logits_lattice(x.logits.double(), *student.args) for x in (student, teacher)]
    return student, teacher, *lattices


def three(logits, target):
    p = logits.double().softmax(0)
    label = p[target].item() if target is not None else 0.0
    return [p[0].item(), label, 1.0 - p[0].item() - label]


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_every_cell_and_every_shift(make_batch, shift):
    student, teacher, ours, theirs = pair(make_batch)
    found = three_way(ours, theirs, shift)
    for b, t, u in torch.cartesian_prod(torch.arange(3), torch.arange(7), torch.arange(5)).tolist():
        frames, labels = int(student.logit_lengths[b]), int(student.target_lengths[b])
        compared = t < frames and u <= labels and 0 <= t - shift < frames
        assert found.mask[b, t, u].item() == compared
        expected = 0.0
        if compared:
            target = int(student.targets[b, u]) if u < labels else None
            p, q = three(teacher.logits[b, t - shift, u], target), three(student.logits[b, t, u], target)
            expected = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)
        assert found.kl[b, t, u].item() == pytest.approx(expected, abs=1e-9)


def pruned(lattice, ranges):
    blank, label = lattice.blank.gather(2, ranges), lattice.label.gather(2, ranges)
    return Lattice(blank, label, lattice.logit_lengths, lattice.target_lengths, ranges)


def test_pruned_lattices_compare_the_same_positions(make_batch):
    _, _, ours, theirs = pair(make_batch)
    full = three_way(ours, theirs, 1)
    our_ranges = torch.tensor([0, 0, 1, 1, 2, 2, 2]).view(1, 7, 1).expand(3, -1, -1) + torch.arange(3)
    their_ranges = torch.tensor([0, 1, 1, 2, 2, 2, 2]).view(1, 7, 1).expand(3, -1, -1) + torch.arange(3)
    found = three_way(pruned(ours, our_ranges), pruned(theirs, their_ranges), 1)
    before = torch.cat([their_ranges[:, :1], their_ranges[:, :-1]], dim=1)
    shared = (our_ranges >= before[:, :, :1]) & (our_ranges <= before[:, :, 2:])
    assert torch.equal(found.mask, full.mask.gather(2, our_ranges) & shared)
    torch.testing.assert_close(found.kl, full.kl.gather(2, our_ranges) * shared)


def test_gradient_stops_at_the_teacher_and_is_right(make_batch):
    batch = make_batch()
    logits = batch.logits.double().requires_grad_()
    teacher_logits = make_batch(seed=5).logits.double().requires_grad_()
    teacher = logits_lattice(teacher_logits, *batch.args)

    def kl(logits):
        return three_way(logits_lattice(logits, *batch.args), teacher, 1).kl

    assert torch.autograd.gradcheck(kl, (logits,))
    kl(logits).sum().backward()
    assert teacher_logits.grad is None


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_certain_networks_give_finite_gradients(make_batch, scale):
    batch = make_batch()
    logits = (batch.logits * scale).requires_grad_()
    teacher = logits_lattice(make_batch(seed=3).logits * scale, *batch.args)
    found = three_way(logits_lattice(logits, *batch.args), teacher)
    found.kl.sum().backward()
    assert found.kl.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (found.kl >= -1e-5).all()
