"""The functions of a lattice against lists of all its paths."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualtk.lattice import Lattice, joint_lattice, logits_lattice, prune_ranges

BACKENDS = ["torch", "numba"]
SIZES = {"frames": st.integers(1, 5), "labels": st.integers(0, 4), "seed": st.integers(0, 1000)}


def lattice_of(batch, **options):
    return logits_lattice(batch.logits.double(), *batch.args, **options)


def paths_of(lattice, list_paths, b):
    frames, labels = int(lattice.logit_lengths[b]), int(lattice.target_lengths[b])
    return list_paths(lattice.blank[b], lattice.label[b], frames, labels)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=20)
@given(**SIZES)
def test_loss_and_occupation_are_sums_over_all_paths(make_batch, list_paths, backend, frames, labels, seed):
    lattice = lattice_of(make_batch(2, frames, labels, seed=seed))
    costs, occupation = lattice.loss("none", backend=backend), lattice.occupation(backend)
    for b in range(2):
        paths = paths_of(lattice, list_paths, b)
        scores = torch.stack(list(paths.values()))
        torch.testing.assert_close(costs[b], -scores.logsumexp(0))
        expected = torch.zeros_like(occupation.label[b])
        for alignment, posterior in zip(paths, scores.softmax(0), strict=True):
            for u, t in enumerate(alignment):
                expected[t, u] += posterior
        torch.testing.assert_close(occupation.label[b], expected)
        num_frames = int(lattice.logit_lengths[b])
        each_frame = torch.ones(num_frames, dtype=torch.float64)
        torch.testing.assert_close(occupation.blank[b, :num_frames].sum(1), each_frame)
        assert not occupation.blank[b, num_frames:].any()


@settings(deadline=None, max_examples=20)
@given(**SIZES)
def test_best_path_is_the_best_of_all_paths(make_batch, list_paths, frames, labels, seed):
    lattice = lattice_of(make_batch(2, frames, labels, seed=seed))
    found = lattice.best_path()
    for b in range(2):
        paths = paths_of(lattice, list_paths, b)
        best = max(paths, key=lambda alignment: paths[alignment].item())
        assert found[b].tolist() == [*best, *[-1] * (labels - len(best))]


@settings(deadline=None, max_examples=10)
@given(**SIZES)
def test_expected_emission_is_the_mean_over_all_paths(make_batch, list_paths, frames, labels, seed):
    lattice = lattice_of(make_batch(2, frames, labels, seed=seed))
    found = lattice.expected_emission()
    for b in range(2):
        paths = paths_of(lattice, list_paths, b)
        posterior = torch.stack(list(paths.values())).softmax(0)
        num_labels = int(lattice.target_lengths[b])
        mean = posterior @ torch.tensor([list(a) for a in paths], dtype=torch.float64).view(len(paths), num_labels)
        torch.testing.assert_close(found[b, :num_labels], mean)
        assert (found[b, num_labels:] == -1).all()


def test_pruned_best_path_and_emission_agree_with_the_full_lattice_when_nothing_is_pruned(make_batch):
    lattice = lattice_of(make_batch())
    width = lattice.blank.shape[2]
    ranges = torch.arange(width).expand(lattice.blank.shape).contiguous()
    pruned = Lattice(lattice.blank, lattice.label, lattice.logit_lengths, lattice.target_lengths, ranges)
    assert torch.equal(pruned.best_path(), lattice.best_path())
    torch.testing.assert_close(pruned.expected_emission(), lattice.expected_emission())
    torch.testing.assert_close(pruned.loss(), lattice.loss())


def test_pruned_best_path_and_emission_have_a_place_for_every_label(make_batch):
    """Also where the padded targets are longer than those of any utterance, and in a batch of none."""
    batch = make_batch()
    batch.target_lengths[:] = torch.tensor([2, 0, 1])
    full = lattice_of(batch)
    ranges = prune_ranges(full.occupation(), *batch.args[1:], 3)
    logits = batch.logits.gather(2, ranges.unsqueeze(3).expand(-1, -1, -1, 6))
    encoder, predictor = torch.randn(3, 7, 6), torch.randn(3, 5, 6)
    lattices = (
        full,
        logits_lattice(logits, *batch.args, ranges=ranges),
        joint_lattice(encoder, predictor, None, None, *batch.args, ranges=ranges),
        logits_lattice(logits[:0], *(x[:0] for x in batch.args), ranges=ranges[:0]),
    )
    for lattice in lattices:
        size = lattice.blank.shape[0]
        path, emission = lattice.best_path(), lattice.expected_emission()
        assert path.dtype == torch.int64
        for found in (path, emission):
            assert found.shape == (size, 4)
            assert torch.equal(found == -1, torch.arange(4) >= batch.target_lengths[:size].unsqueeze(1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_integers_of_32_bits_do_as_well(make_batch, backend):
    batch = make_batch()
    short = [x.int() for x in batch.args]
    ranges = prune_ranges(lattice_of(batch).occupation(), *batch.args[1:], 3)
    logits = batch.logits.gather(2, ranges.unsqueeze(3).expand(-1, -1, -1, 6))
    full = [logits_lattice(batch.logits, *args, backend=backend) for args in (short, batch.args)]
    pruned = [
        logits_lattice(logits, *args, ranges=kept, backend=backend)
        for args, kept in ((short, ranges.int()), (batch.args, ranges))
    ]
    assert torch.equal(prune_ranges(full[0].occupation(), *short[1:], 3), ranges)
    for found, expected in (full, pruned):
        assert found.best_path().dtype == torch.int64
        assert torch.equal(found.best_path(), expected.best_path())
        for function in ("expected_emission", "loss"):
            assert torch.equal(getattr(found, function)(backend=backend), getattr(expected, function)(backend=backend))
        found, expected = (Lattice(x.blank, x.label, *short[1:], x.ranges) for x in (found, expected))
        assert torch.equal(found.best_path(), expected.best_path())


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_by_finite_differences(make_batch, backend):
    batch = make_batch()
    lattice = lattice_of(batch)
    inside = lattice.mask()
    blank = lattice.blank.masked_fill(~inside, 0.0).requires_grad_()
    has_label = inside & (lattice.positions() < lattice.target_lengths.view(-1, 1, 1))
    label = lattice.label.masked_fill(~has_label, 0.0).requires_grad_()

    def costs(blank, label):
        cells = Lattice(blank, label, batch.logit_lengths, batch.target_lengths)
        return cells.loss("none", backend=backend, delay_penalty=0.1)

    assert torch.autograd.gradcheck(costs, (blank, label))


@pytest.mark.parametrize("backend", BACKENDS)
def test_delay_penalty_rewards_every_early_label_of_every_path(make_batch, list_paths, backend):
    lattice = lattice_of(make_batch())
    costs = lattice.loss("none", delay_penalty=0.3, backend=backend)
    for b in range(3):
        middle = (int(lattice.logit_lengths[b]) - 1) / 2
        paths = paths_of(lattice, list_paths, b)
        scores = torch.stack([score + sum(0.3 * (middle - t) for t in a) for a, score in paths.items()])
        torch.testing.assert_close(costs[b], -scores.logsumexp(0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_fastemit_strengthens_label_gradients_alone(make_batch, backend):
    lattice = lattice_of(make_batch())
    blank, label = lattice.blank.requires_grad_(), lattice.label.requires_grad_()
    lattice = Lattice(blank, label, lattice.logit_lengths, lattice.target_lengths)
    plain, fast = lattice.loss(backend=backend), lattice.loss(backend=backend, fastemit_lambda=0.25)
    assert plain.item() == fast.item()
    plain_grads, fast_grads = (torch.autograd.grad(loss, (blank, label)) for loss in (plain, fast))
    torch.testing.assert_close(fast_grads[0], plain_grads[0])
    torch.testing.assert_close(fast_grads[1], 1.25 * plain_grads[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_reported_and_stays_in_its_utterance(make_batch, backend, caplog):
    batch = make_batch()
    healthy = batch.logits.clone().requires_grad_()
    logits_lattice(healthy, *batch.args, backend=backend).loss("sum", backend=backend).backward()
    batch.logits[1, 0, 0, 2] = float("nan")
    broken = batch.logits.clone().requires_grad_()
    with caplog.at_level(logging.WARNING):
        costs = logits_lattice(broken, *batch.args, backend=backend).loss("none", backend=backend)
    assert "utterance 1 of the batch is nan" in caplog.text
    assert costs.isnan().tolist() == [False, True, False]
    costs.sum().backward()
    for b in (0, 2):
        torch.testing.assert_close(broken.grad[b], healthy.grad[b])
    assert broken.grad[1].isnan().any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_lattice_without_any_path_has_infinite_loss_and_no_gradient(make_batch, backend):
    lattice = lattice_of(make_batch())
    blank = lattice.blank.clone()
    blank[0, 3] = float("-inf")
    blank.requires_grad_()
    costs = Lattice(blank, lattice.label, lattice.logit_lengths, lattice.target_lengths).loss("none", backend=backend)
    assert costs.isinf().tolist() == [True, False, False]
    costs.sum().backward()
    assert not blank.grad[0].any()
    assert blank.grad.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batch(backend):
    blank = torch.zeros(0, 5, 3, requires_grad=True)
    lengths = torch.zeros(0, dtype=torch.int64)
    lattice = Lattice(blank, blank, lengths, lengths)
    assert lattice.loss("none", backend=backend).shape == (0,)
    loss = lattice.loss(backend=backend)
    loss.backward()
    assert loss.item() == 0.0
    assert lattice.occupation(backend).blank.shape == (0, 5, 3)
    assert lattice.best_path().shape[0] == 0
    assert prune_ranges(lattice.occupation(backend), lengths, lengths, 2).shape == (0, 5, 2)


@pytest.mark.parametrize("pruned", [False, True])
def test_probabilities_far_below_the_smallest_float64(pruned):
    """Every path is some e^-100000, and in each row of the recursion some are e^-10000 of others."""
    generator = torch.Generator().manual_seed(0)
    blank, label = (-1e4 * torch.rand(2, 40, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    lengths = torch.tensor([40, 31]), torch.tensor([7, 5])
    lattice = Lattice(blank, label, *lengths)
    if pruned:
        ranges = prune_ranges(lattice.occupation("torch"), *lengths, 4)
        lattice = Lattice(blank.gather(2, ranges), label.gather(2, ranges), *lengths, ranges)
    expected, found = (lattice.score("none", backend=backend) for backend in ("torch", "numba"))
    assert (expected.loss > 3e4).all()
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.occupation, expected.occupation)


def test_a_long_utterance_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 1500, 101, 2, generator=generator).log_softmax(3) - 5.0
    lengths = torch.tensor([1500]), torch.tensor([100])
    expected, found = (
        Lattice(x[..., 0], x[..., 1], *lengths).score("none", backend=backend)
        for x, backend in ((scores.double(), "torch"), (scores, "numba"))
    )
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.occupation.label.double(), expected.occupation.label, rtol=1e-5, atol=1e-8)


def test_a_long_silence_keeps_its_digits():
    """Thousands of frames in which nothing but blank happens, as probabilities that all round to one side."""
    frames = 6000
    blank = torch.full((2, frames, 2), 0.71).log()
    label = torch.full((2, frames, 2), 0.01).log()
    ranges = torch.arange(2).expand(2, frames, -1).contiguous()
    lengths = torch.tensor([frames, frames]), torch.tensor([1, 0])
    for ours in (Lattice(blank, label, *lengths), Lattice(blank, label, *lengths, ranges)):
        loss = ours.loss("none", backend="numba").double()
        step = -frames * torch.tensor(0.71, dtype=torch.float64).log()
        torch.testing.assert_close(loss, step - torch.tensor([frames * 0.01, 1.0]).double().log(), rtol=1e-6, atol=0)
        assert ours.occupation("numba").blank.sum(2).allclose(torch.ones(2, frames))


def test_unknown_reduction_is_refused(make_batch):
    with pytest.raises(ValueError, match="average"):
        lattice_of(make_batch()).loss("average")
