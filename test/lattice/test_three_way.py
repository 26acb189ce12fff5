"""The three-way KL against its definition, cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from joint_inputs import random_inputs

from dualtk.lattice import Lattice, joint_lattice, logits_lattice, prune_ranges, three_way, visits


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


@pytest.mark.slow
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


def visited_by_listing(lattice, list_paths):
    """(B, T, U + 1) posterior of each cell of a whole lattice: the share of the paths that go through it."""
    found = torch.zeros_like(lattice.blank.detach())
    for b in range(len(found)):
        frames, labels = int(lattice.logit_lengths[b]), int(lattice.target_lengths[b])
        paths = list_paths(lattice.blank[b].detach(), lattice.label[b].detach(), frames, labels)
        total = torch.logsumexp(torch.stack(list(paths.values())), 0)
        for alignment, score in paths.items():
            for t in range(frames):
                for u in range(sum(e < t for e in alignment), sum(e <= t for e in alignment) + 1):
                    found[b, t, u] += (score - total).exp()
    return found


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("shift", [-1, 0, 2])
def test_visits_are_the_share_of_paths_through_a_cell(make_batch, list_paths, backend, shift):
    batch = make_batch(3, 4, 3, seed=1)
    ours, theirs = (joint_lattice(*random_inputs(batch, seed=seed), *batch.args, backend=backend) for seed in (1, 2))
    own, other = (visited_by_listing(lattice, list_paths) for lattice in (ours, theirs))
    moved = torch.zeros_like(other)
    for t in range(4):
        if 0 <= t - shift < 4:
            moved[:, t] = other[:, t - shift]
    for weighting, expected in (("student", own), ("teacher", moved), ("both", (own + moved) / 2)):
        found = visits(ours, theirs, shift, weighting)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not found.requires_grad
    steps = (batch.logit_lengths + batch.target_lengths).to(own)
    torch.testing.assert_close(visits(ours, theirs, 0, "both").sum((1, 2)), steps, rtol=1e-4, atol=1e-4)
    assert torch.equal(visits(ours, theirs, shift, "cells"), torch.ones_like(own))


@pytest.mark.parametrize("weighting", ["teacher", "student", "both"])
def test_visits_of_a_pruned_lattice_sum_to_the_steps_of_a_path(make_batch, weighting):
    """As in the whole one, however narrow the range: it is the cells that differ, not what they count in all."""
    batch = make_batch(4, 12, 6, 9)
    inputs = [random_inputs(batch, vocabulary=9, seed=seed) for seed in (1, 2)]
    ranges = prune_ranges(joint_lattice(*inputs[0], *batch.args).occupation(), *batch.args[1:], 3)
    lattices = [joint_lattice(*one, *batch.args, ranges=ranges) for one in inputs]
    steps = (batch.logit_lengths + batch.target_lengths).float()
    torch.testing.assert_close(visits(*lattices, 0, weighting).sum((1, 2)), steps, rtol=1e-4, atol=1e-4)
