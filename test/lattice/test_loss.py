"""The losses of logits: equal to torchaudio, to each other where they must be, and clear about bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import torchaudio

from dualtk.errors import InputError
from dualtk.lattice import (
    list_backends,
    logits_lattice,
    prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
    simple_lattice,
)

USABLE = [status.name for status in list_backends() if status.unavailable_reason is None]
BACKENDS = [name for name in ("torch", "numba", "torchaudio") if name in USABLE]


def loss_and_gradient(function, logits):
    logits = logits.detach().clone().requires_grad_()
    loss = function(logits)
    loss.sum().backward()
    return loss.detach(), logits.grad


def torchaudio_of(batch, blank=0, reduction="none"):
    """Torchaudio wants the longest utterance to fill the batch, so it sees one utterance at a time."""

    def function(logits):
        costs = []
        for b, (frames, labels) in enumerate(zip(batch.logit_lengths, batch.target_lengths, strict=True)):
            args = (batch.targets[b : b + 1, :labels].int(), frames.int().view(1), labels.int().view(1))
            costs.append(
                torchaudio.functional.rnnt_loss(
                    logits[b : b + 1, :frames, : labels + 1].contiguous(), *args, blank=blank
                )
            )
        return torch.stack(costs)

    return function


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("blank", [0, 5])
@settings(deadline=None, max_examples=10)
@given(frames=st.integers(1, 12), labels=st.integers(0, 9), seed=st.integers(0, 1000))
def test_equal_to_torchaudio(make_batch, backend, blank, frames, labels, seed):
    batch = make_batch(3, frames, labels, seed=seed, blank=blank)
    expected = loss_and_gradient(torchaudio_of(batch, blank), batch.logits)
    found = loss_and_gradient(
        lambda x: rnnt_loss(x, *batch.args, blank=blank, reduction="none", backend=backend), batch.logits
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "tolerance"),
    [((3, 7, 4), 1e-5), ((4, 3, 9), 1e-5), ((2, 9, 5), 1e-5), ((4, 30, 10), 1e-4), ((4, 120, 30), 1e-3)],
)
def test_torchaudio_agrees_to_five_digits_while_float32_allows_it(make_batch, size, tolerance):
    """Its losses always do, its gradients, as parts of the largest, in short utterances.

    Its kernels subtract log-likelihoods in float32. That costs 2e-6 in seven frames, 2e-5 in 30, 1.4e-4 in 120 and 4e-4
    in 400, in torchaudio's own gradients as in those of the backend.
    """
    assert torchaudio.functional.rnnt_loss  # else skipped before the backend is asked for
    batch = make_batch(*size, 9, seed=size[1])
    batch.target_lengths.clamp_(min=1)  # torchaudio alone takes no utterance without labels
    expected = loss_and_gradient(
        lambda x: rnnt_loss(x, *batch.args, reduction="none", backend="torch"), batch.logits.double()
    )
    largest = expected[1].abs().max()
    backend = loss_and_gradient(
        lambda x: rnnt_loss(x, *batch.args, reduction="none", backend="torchaudio"), batch.logits
    )
    alone = loss_and_gradient(torchaudio_of(batch), batch.logits)
    for loss, grad in (backend, alone):
        torch.testing.assert_close(loss.double(), expected[0], rtol=1e-5, atol=0)
        assert (grad - expected[1]).abs().max() <= tolerance * largest
    ours = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, reduction="none", backend="numba"), batch.logits)
    assert (ours[1] - expected[1]).abs().max() <= 1e-6 * largest


def test_drop_in_for_torchaudio_with_a_negative_blank(make_batch):
    batch = make_batch(blank=5)
    batch.target_lengths[0], batch.logit_lengths[0] = 4, 7
    args = (batch.targets.int(), batch.logit_lengths.int(), batch.target_lengths.int())
    for reduction in ("none", "sum", "mean"):
        expected = torchaudio.functional.rnnt_loss(batch.logits, *args, blank=-1, reduction=reduction)
        torch.testing.assert_close(rnnt_loss(batch.logits, *args, blank=-1, reduction=reduction), expected)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_gradient_by_finite_differences(make_batch, backend):
    batch = make_batch(vocabulary=4)
    logits = batch.logits.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: rnnt_loss(x, *batch.args, reduction="none", backend=backend, delay_penalty=0.2), (logits,)
    )


@pytest.mark.slow
def test_compiled_gradient_by_finite_differences(make_batch):
    """Of the kernels in float32, whose loss has seven digits: steps of 0.02 leave 1e-4 of rounding and of curvature."""
    batch = make_batch(vocabulary=4)
    step = 0.02

    def costs(logits):
        return rnnt_loss(logits, *batch.args, reduction="none", backend="numba", delay_penalty=0.2).double().sum()

    _, grad = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, backend="numba", reduction="sum",
                                                    delay_penalty=0.2), batch.logits)  # fmt: skip
    numerical = torch.zeros_like(grad)
    for index in range(grad.numel()):
        sides = []
        for sign in (1, -1):
            moved = batch.logits.clone()
            moved.view(-1)[index] += sign * step
            sides.append(costs(moved))
        numerical.view(-1)[index] = (sides[0] - sides[1]) / (2 * step)
    torch.testing.assert_close(grad, numerical, rtol=0, atol=3e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_sums_in_float32(make_batch, backend, dtype):
    batch = make_batch(2, 30, 10, 200)
    logits = batch.logits.to(dtype)
    expected = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, reduction="none", backend="torch"), logits.float())
    found = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, reduction="none", backend=backend), logits)
    assert found[0].dtype == torch.float32
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1].float(), expected[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_huge_logits(make_batch, backend):
    batch = make_batch()
    logits = batch.logits.sign() * 1e4
    expected = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, backend="torch"), logits.double())
    found = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, backend=backend), logits)
    torch.testing.assert_close(found[0].double(), expected[0])
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_inputs(make_batch, backend):
    batch = make_batch()
    expected = loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, backend=backend), batch.logits)
    strided = batch.logits.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)  # (V, T, B, U + 1) -> (B, T, U + 1, V)
    targets = batch.targets.t().contiguous().t()  # (B, U) -> (U, B) -> (B, U)
    found = loss_and_gradient(lambda x: rnnt_loss(x, targets, *batch.args[1:], backend=backend), strided)
    torch.testing.assert_close(found, expected)


def test_empty_batch():
    logits = torch.zeros(0, 5, 4, 6, requires_grad=True)
    lengths = torch.zeros(0, dtype=torch.int64)
    loss = rnnt_loss(logits, torch.zeros(0, 3, dtype=torch.int64), lengths, lengths)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.shape == logits.shape


def test_simple_loss_of_an_empty_batch():
    am, lm = torch.zeros(0, 5, 6, requires_grad=True), torch.zeros(0, 4, 6, requires_grad=True)
    lengths = torch.zeros(0, dtype=torch.int64)
    found = rnnt_loss_simple(am, lm, torch.zeros(0, 3, dtype=torch.int64), lengths, lengths, return_occupation=True)
    found.loss.backward()
    assert found.loss.item() == 0.0
    assert prune_ranges(found.occupation, lengths, lengths, 2).shape == (0, 5, 2)


def test_simple_loss_of_half_precision_and_of_non_contiguous_inputs(make_batch):
    batch = make_batch(blank=3)
    am, lm = batch.logits[:, :, 0].bfloat16(), batch.logits[:, 0].bfloat16()
    options = {"blank": 3, "lm_scale": 0.25, "reduction": "none"}
    expected = rnnt_loss_simple(am.float(), lm.float(), *batch.args, **options)
    assert torch.equal(rnnt_loss_simple(am, lm, *batch.args, **options), expected)
    strided = [x.float().transpose(1, 2).contiguous().transpose(1, 2) for x in (am, lm)]  # (B, T, V) -> (B, V, T) -> ..
    torch.testing.assert_close(rnnt_loss_simple(*strided, *batch.args, **options), expected)


def simple_of(am, lm, args, **options):
    """Costs and the gradients of both sides."""
    leaves = [x.detach().clone().requires_grad_() for x in (am, lm)]
    costs = rnnt_loss_simple(*leaves, *args, reduction="none", **options)
    return costs.detach(), *torch.autograd.grad(costs.sum(), leaves)


@pytest.mark.parametrize("am_scale", [0.0, 0.1])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["am", "lm", "both"])
def test_nan_in_the_simple_loss_reaches_no_other_utterance(make_batch, side, value, am_scale):
    """The others' losses and gradients are those of a batch without the utterance that is not finite."""
    batch = make_batch()
    am, lm = batch.logits[:, :, 0].clone(), batch.logits[:, 0].clone()
    options = {"lm_scale": 0.25, "am_scale": am_scale}
    others = [0, 2]
    expected = simple_of(am[others], lm[others], [x[others] for x in batch.args], **options)
    if side != "lm":
        am[1, 0, 2] = value
    if side != "am":
        lm[1, 0, 2] = value
    found = simple_of(am, lm, batch.args, **options)
    assert found[0].isnan().tolist() == [False, True, False]
    torch.testing.assert_close(tuple(x[others] for x in found), expected)


@pytest.mark.parametrize("am_scale", [0.0, 0.1])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["am", "lm"])
def test_what_is_not_finite_in_padding_is_not_read_by_the_simple_loss(make_batch, side, value, am_scale):
    batch = make_batch()
    batch.logit_lengths[:], batch.target_lengths[:] = torch.tensor([7, 5, 6]), torch.tensor([3, 2, 4])
    am, lm = batch.logits[:, :, 0].clone(), batch.logits[:, 0].clone()
    options = {"lm_scale": 0.25, "am_scale": am_scale}
    if side == "am":
        am[1, 5:] = value
    else:
        lm[1, 3:] = value
    found = simple_of(am, lm, batch.args, **options)
    assert all(x.isfinite().all() for x in found)
    assert not found[1][1, 5:].any()
    if am_scale == 0.0:  # otherwise what is finite in padding belongs to the mean, as in k2
        expected = simple_of(am.nan_to_num(0.0, posinf=0.0), lm.nan_to_num(0.0, posinf=0.0), batch.args, **options)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_what_is_not_finite_in_padding_is_not_read_by_the_exact_loss(make_batch, backend):
    batch = make_batch()
    logits = batch.logits.clone()
    lattice = logits_lattice(logits, *batch.args)
    logits[~lattice.mask()] = float("nan")
    expected, found = (
        loss_and_gradient(lambda x: rnnt_loss(x, *batch.args, backend=backend), x) for x in (batch.logits, logits)
    )
    assert torch.isfinite(found[1]).all()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scales", [(0.0, 0.0), (0.25, 0.1)])
def test_sides_of_two_dtypes_are_computed_in_the_wider_one(make_batch, scales):
    batch = make_batch()
    am, lm = batch.logits[:, :, 0], batch.logits[:, 0]
    options = {"lm_scale": scales[0], "am_scale": scales[1]}
    expected = simple_of(am.double(), lm.double(), batch.args, **options)
    for sides in ((am.double(), lm), (am, lm.double())):
        found = simple_of(*sides, batch.args, **options)
        assert found[0].dtype == torch.float64
        assert [x.dtype for x in found[1:]] == [x.dtype for x in sides]
        torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scales", [(0.0, 0.0), (0.25, 0.1)])
def test_cells_beyond_an_utterance_are_impossible_in_every_lattice(make_batch, scales):
    batch = make_batch()
    am, lm = batch.logits[:, :, 0], batch.logits[:, 0]
    lattice = simple_lattice(am, lm, *batch.args, lm_scale=scales[0], am_scale=scales[1])
    exact = logits_lattice(am.unsqueeze(2) + lm.unsqueeze(1), *batch.args)
    assert not lattice.mask().all()
    for ours, theirs in ((lattice.blank, exact.blank), (lattice.label, exact.label)):
        assert torch.equal(ours == float("-inf"), theirs == float("-inf"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.targets[1].__setitem__(0, 0), "utterance 1 of the batch: label 0 at position 0 is blank"),
        (
            lambda b: b.targets[2].__setitem__(3, 6),
            "utterance 2 .* label 6 at position 3 is outside the vocabulary of 6",
        ),
        (lambda b: b.targets[2].__setitem__(2, -4), "utterance 2 of the batch: label -4 at position 2 is outside"),
        (lambda b: b.logit_lengths.__setitem__(0, 8), "utterance 0 of the batch: logit length 8 is not within 1..7"),
        (lambda b: b.logit_lengths.__setitem__(1, 0), "utterance 1 of the batch: logit length 0 is not within 1..7"),
        (lambda b: b.target_lengths.__setitem__(2, 5), "utterance 2 of the batch: target length 5 is not within 0..4"),
    ],
)
def test_bad_targets_and_lengths_are_named(make_batch, change, message):
    batch = make_batch()
    batch.target_lengths[1] = 2
    change(batch)
    with pytest.raises(InputError, match=message):
        rnnt_loss(batch.logits, *batch.args)
    with pytest.raises(InputError, match=message):
        rnnt_loss_simple(batch.logits[:, :, 0], batch.logits[:, 0], *batch.args)


def test_labels_beyond_the_target_length_are_not_read(make_batch):
    batch = make_batch()
    batch.target_lengths[:2] = 2
    expected = rnnt_loss(batch.logits, *batch.args)
    batch.targets[0, 2:] = 0
    batch.targets[1, 2:] = -100
    assert rnnt_loss(batch.logits, *batch.args).item() == expected.item()


def test_wrong_number_of_cells_is_refused(make_batch):
    batch = make_batch()
    with pytest.raises(ValueError, match=r"must have the shape \(3, \*, 5, \*\), not \(3, 7, 4, 6\)"):
        rnnt_loss(batch.logits[:, :, :4], *batch.args)


@settings(deadline=None, max_examples=10)
@given(
    frames=st.integers(1, 12), labels=st.integers(0, 6), seed=st.integers(0, 1000), scale=st.sampled_from([1, 60, 1e4])
)
def test_simple_loss_is_the_exact_loss_of_the_sum(make_batch, frames, labels, seed, scale):
    batch = make_batch(2, frames, labels, 8, seed=seed)
    am, lm = batch.logits[:, :, 0] * scale, batch.logits.flip(3)[:, 0] * scale
    am, lm = am.clone().requires_grad_(), lm.clone().requires_grad_()
    simple = rnnt_loss_simple(am, lm, *batch.args, reduction="none")
    wide = [x.detach().double().requires_grad_() for x in (am, lm)]
    exact = rnnt_loss(wide[0].unsqueeze(2) + wide[1].unsqueeze(1), *batch.args, reduction="none", backend="torch")
    digits = 1e-6 * scale * (frames + labels)  # float32 holds sums of such logits no better, and a path adds them up
    torch.testing.assert_close(simple.double(), exact, rtol=1e-5, atol=1e-5 + digits)
    found, expected = torch.autograd.grad(simple.sum(), (am, lm)), torch.autograd.grad(exact.sum(), wide)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-4, atol=1e-5 + digits)


@pytest.mark.parametrize("scales", [(0.0, 0.0), (0.25, 0.0), (0.0, 0.1), (0.2, 0.3)])
def test_smoothed_loss_gradient_by_finite_differences(make_batch, scales):
    batch = make_batch(2, 4, 3, 5)
    am, lm = (x.double().requires_grad_() for x in (batch.logits[:, :, 0], batch.logits[:, 0]))

    def costs(am, lm):
        return rnnt_loss_simple(am, lm, *batch.args, lm_scale=scales[0], am_scale=scales[1], reduction="none")

    assert torch.autograd.gradcheck(costs, (am, lm))


def test_simple_loss_returns_the_occupation_of_its_lattice(make_batch):
    batch = make_batch()
    am, lm = batch.logits[:, :, 0], batch.logits[:, 0]
    loss, occupation = rnnt_loss_simple(am, lm, *batch.args, lm_scale=0.25, return_occupation=True)
    lattice = simple_lattice(am, lm, *batch.args, lm_scale=0.25)
    assert loss.item() == lattice.loss().item()
    torch.testing.assert_close(occupation, lattice.occupation())


@pytest.mark.parametrize("backend", BACKENDS)
def test_pruned_loss_counts_the_paths_inside_its_ranges(make_batch, list_paths, backend):
    batch = make_batch()
    starts = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    starts = torch.minimum(starts, (batch.target_lengths - 2).clamp(min=0).unsqueeze(1))
    starts = torch.where(torch.arange(7) < batch.logit_lengths.unsqueeze(1) - 1, starts, starts[:, -1:])
    ranges = starts.unsqueeze(2) + torch.arange(3)
    logits = batch.logits.gather(2, ranges.unsqueeze(3).expand(-1, -1, -1, 6))
    costs = rnnt_loss_pruned(logits, batch.targets, ranges, *batch.args[1:], reduction="none", backend=backend)
    scores = batch.logits.log_softmax(3)
    for b, (frames, labels) in enumerate(zip(batch.logit_lengths.tolist(), batch.target_lengths.tolist(), strict=True)):
        label = scores[b, :, :labels].gather(2, batch.targets[b, :labels].view(1, -1, 1).expand(7, -1, 1)).squeeze(2)
        kept = torch.zeros(7, 5, dtype=torch.bool).scatter_(1, ranges[b], True)
        blank = scores[b, :, :, 0].masked_fill(~kept, float("-inf"))
        label = label.masked_fill(~(kept[:, :labels] & kept[:, 1 : labels + 1]), float("-inf"))
        paths = list_paths(blank, label, frames, labels)
        torch.testing.assert_close(costs[b], -torch.stack(list(paths.values())).logsumexp(0))


def test_equal_inputs_give_equal_results_with_two_threads(make_batch):
    batch = make_batch(5, 60, 20, 50)
    am, lm = batch.logits[:, :, 0].clone().requires_grad_(), batch.logits[:, 0].clone().requires_grad_()
    logits = batch.logits.clone().requires_grad_()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)

    def gradients():
        loss = rnnt_loss(logits, *batch.args) + rnnt_loss_simple(am, lm, *batch.args, lm_scale=0.25)
        return loss, *torch.autograd.grad(loss, (logits, am, lm))

    try:
        first, *others = [gradients() for _ in range(4)]
    finally:
        torch.set_num_threads(threads)
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))
