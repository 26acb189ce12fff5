"""The chunked joint against logits that are held in full."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from joint_inputs import ACTIVATIONS, full_logits, random_inputs

from dualtk.errors import InputError
from dualtk.lattice import (
    JointInputs,
    joint_kl,
    joint_lattice,
    prune_ranges,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
)
from dualtk.lattice.backends.torch_joint import add_rows, sum_rows


def compare(loss, expected, inputs, tolerance):
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    for x, y in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("layer", [True, False])
@pytest.mark.parametrize("chunk", [1, 13, None])
def test_full_lattice(make_batch, activation, backend, layer, chunk):
    batch = make_batch()
    inputs = random_inputs(batch, layer=layer, width=8 if layer else 6)
    tensors = inputs if layer else [*inputs, None, None]
    lattice = joint_lattice(*tensors, *batch.args, activation=activation, backend=backend, chunk=chunk)
    expected = rnnt_loss(full_logits(inputs, activation), *batch.args, backend="torch")
    compare(lattice.loss(backend=backend), expected, inputs, 1e-5)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("chunk", [1, 13, None])
def test_a_factor_of_the_activation(make_batch, backend, pruned, chunk):
    """Additive: the logits are a multiple of tanh, and the multiple has a gradient."""
    batch = make_batch(4, 12, 6, 9)
    sides, factor = random_inputs(batch, width=9, layer=False), torch.tensor([2.5], requires_grad=True)
    ranges = None
    if pruned:
        ranges = prune_ranges(joint_lattice(*sides, factor, None, *batch.args).occupation(), *batch.args[1:], 3)
    lattice = joint_lattice(*sides, factor, None, *batch.args, ranges=ranges, backend=backend, chunk=chunk)
    logits = factor * full_logits(sides, "tanh", ranges)
    if ranges is None:
        expected = rnnt_loss(logits, *batch.args, backend="torch")
    else:
        expected = rnnt_loss_pruned(logits, batch.targets, ranges, *batch.args[1:], backend="torch")
    compare(lattice.loss(backend=backend), expected, [*sides, factor], 1e-5)


def test_a_factor_is_one_number_and_has_no_bias(make_batch):
    batch = make_batch()
    sides = random_inputs(batch, width=6, layer=False)
    with pytest.raises(InputError, match="weight"):
        JointInputs(*sides, torch.ones(6), None)
    with pytest.raises(ValueError, match="second predictor bias"):
        JointInputs(*sides, torch.ones(1), torch.zeros(6))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_pruned_lattice(make_batch, backend, activation):
    batch = make_batch(4, 12, 6, 9)
    inputs = random_inputs(batch, vocabulary=9)
    occupation = joint_lattice(*inputs, *batch.args, activation=activation).occupation()
    ranges = prune_ranges(occupation, *batch.args[1:], 3)
    lattice = joint_lattice(*inputs, *batch.args, ranges=ranges, activation=activation, backend=backend, chunk=11)
    logits = full_logits(inputs, activation, ranges)
    expected = rnnt_loss_pruned(logits, batch.targets, ranges, *batch.args[1:], backend="torch")
    compare(lattice.loss(backend=backend), expected, inputs, 1e-5)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("size", [(2, 1, 4), (3, 6, 0), (2, 1, 0), (3, 3, 7)])
def test_one_frame_no_label_and_more_labels_than_frames(make_batch, backend, size):
    batch = make_batch(*size)
    inputs = random_inputs(batch)
    lattice = joint_lattice(*inputs, *batch.args, backend=backend)
    expected = rnnt_loss(full_logits(inputs, "tanh"), *batch.args, backend="torch")
    compare(lattice.loss(backend=backend), expected, inputs, 1e-5)
    ranges = prune_ranges(lattice.occupation(backend), *batch.args[1:], 2)
    pruned = joint_lattice(*inputs, *batch.args, ranges=ranges, backend=backend).loss(backend=backend)
    logits = full_logits(inputs, "tanh", ranges)
    expected = rnnt_loss_pruned(logits, batch.targets, ranges, *batch.args[1:], backend="torch")
    compare(pruned, expected, inputs, 1e-5)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_huge_logits(make_batch, backend):
    batch = make_batch()
    inputs = [x.detach().sign() for x in random_inputs(batch)]
    inputs[2] *= 1250.0  # eight of them, all of one sign in some cells
    loss = joint_lattice(*inputs, *batch.args, activation="identity", backend=backend).loss("none", backend=backend)
    logits = full_logits([x.double() for x in inputs], "identity")
    assert logits.abs().max() >= 1e4
    torch.testing.assert_close(loss.double(), rnnt_loss(logits, *batch.args, reduction="none", backend="torch"))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_non_contiguous_inputs(make_batch, backend):
    batch = make_batch()
    inputs = random_inputs(batch)
    strided = [x.detach().t().contiguous().t() if x.dim() == 2 else x.detach() for x in inputs]
    strided[:2] = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in strided[:2]]  # (B, T, J) -> (B, J, T) -> ..
    strided[3] = strided[3].repeat_interleave(2)[::2]
    strided = [x.requires_grad_() for x in strided]
    assert not any(x.is_contiguous() for x in strided)
    results = []
    for tensors in (inputs, strided):
        loss = joint_lattice(*tensors, *batch.args, backend=backend).loss(backend=backend)
        results.append((loss.detach(), torch.autograd.grad(loss, tensors)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_nan_of_one_utterance_reaches_no_other(make_batch, backend):
    batch = make_batch()
    inputs = random_inputs(batch)
    costs = joint_lattice(*inputs, *batch.args, backend=backend).loss("none", backend=backend)
    broken = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.no_grad():
        broken[0][1, 0, 0] = float("nan")
    found = joint_lattice(*broken, *batch.args, backend=backend).loss("none", backend=backend)
    assert found.isnan().tolist() == [False, True, False]
    sides = [torch.autograd.grad(x.sum(), y[:2]) for x, y in ((costs, inputs), (found, broken))]
    for healthy, side in zip(*sides, strict=True):
        torch.testing.assert_close(side[[0, 2]], healthy[[0, 2]])


def test_python_threads_do_not_disturb_each_other(make_batch):
    batches = [make_batch(3, 30, 12, 40, seed=seed) for seed in range(3)]
    inputs = [random_inputs(batch, 16, 40, seed=k) for k, batch in enumerate(batches)]

    def gradients(k):
        return torch.autograd.grad(joint_lattice(*inputs[k], *batches[k].args, chunk=64).loss(), inputs[k])

    expected = [gradients(k) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(gradients, [0, 1, 2] * 8))
    for k, one in enumerate(found):
        assert all(torch.equal(x, y) for x, y in zip(one, expected[k % 3], strict=True))


def test_gradient_by_finite_differences(make_batch):
    batch = make_batch(2, 4, 3, 5)
    inputs = random_inputs(batch, 3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *tensors: joint_lattice(*tensors, *batch.args, chunk=7).loss("none"), tuple(inputs)
    )


def test_blank_of_another_class_and_no_bias(make_batch):
    batch = make_batch(blank=4)
    encoder, predictor, weight, _ = random_inputs(batch)
    lattice = joint_lattice(encoder, predictor, weight, None, *batch.args, blank=4)
    expected = rnnt_loss(full_logits([encoder, predictor, weight], "tanh"), *batch.args, blank=4, backend="torch")
    compare(lattice.loss(), expected, [encoder, predictor, weight], 1e-5)


def test_half_precision(make_batch):
    batch = make_batch(2, 20, 6, 30)
    inputs = [x.detach().bfloat16().requires_grad_() for x in random_inputs(batch, 16, 30)]
    lattice = joint_lattice(*inputs, *batch.args)
    assert lattice.blank.dtype == torch.float32
    loss = lattice.loss()
    expected = rnnt_loss(full_logits(inputs, "tanh").float(), *batch.args)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=1e-2)
    assert all(x.dtype == torch.bfloat16 for x in torch.autograd.grad(loss, inputs))


def test_autocast_does_not_reach_the_sums(make_batch):
    batch = make_batch(2, 20, 6, 30)
    inputs = random_inputs(batch, 16, 30)
    halves = [x.detach().bfloat16().float() for x in inputs[:2]]
    expected = joint_lattice(*halves, *inputs[2:], *batch.args).loss()
    simple = rnnt_loss_simple(batch.logits[:, :, 0], batch.logits[:, 0], *batch.args)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = joint_lattice(*(x.bfloat16() for x in halves), *inputs[2:], *batch.args).loss()
        assert rnnt_loss_simple(batch.logits[:, :, 0], batch.logits[:, 0], *batch.args).item() == simple.item()
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss, inputs[2:]) for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_equal_inputs_give_equal_results_with_two_threads(make_batch):
    batch = make_batch(4, 50, 20, 40)
    inputs = random_inputs(batch, 16, 40)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    teacher = JointInputs(*random_inputs(batch, 16, 40, seed=1))

    def gradients():
        loss = joint_lattice(*inputs, *batch.args, chunk=64).loss()
        return torch.autograd.grad(loss + joint_kl(JointInputs(*inputs), teacher, *batch.args[1:]).sum(), inputs)

    try:
        runs = [gradients() for _ in range(3)]
    finally:
        torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(x, y) for x, y in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("size", [(1, 3), (40, 3), (3500, 11)])
def test_rows_are_summed_as_they_are_on_a_gpu(size):
    num_cells, num_rows = size
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(0, num_rows, (num_cells,), generator=generator)
    value = torch.randn(num_cells, 5, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.one_hot(row, num_rows).double().t() @ value
    torch.testing.assert_close(sum_rows(row, value, num_rows), expected)
    out = torch.ones(num_rows, 5, dtype=torch.float64)
    add_rows(out, row, value)
    torch.testing.assert_close(out, 1 + expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("strict", [False, True])
def test_equal_inputs_give_equal_gradients_on_a_gpu(make_batch, strict, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    batch = make_batch(4, 200, 40, 300)
    inputs, theirs = ([x.detach().cuda().requires_grad_() for x in random_inputs(batch, 64, 300, k)] for k in (0, 1))
    args = [x.cuda() for x in batch.args]

    def gradients():
        loss = joint_lattice(*inputs, *args, chunk=4096).loss()
        kl = joint_kl(JointInputs(*inputs), JointInputs(*theirs), *args[1:], chunk=4096)
        return torch.autograd.grad(loss + kl.sum(), inputs)

    torch.use_deterministic_algorithms(strict)
    try:
        runs = [gradients() for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    for run in runs[1:]:
        assert all(torch.equal(x, y) for x, y in zip(run, runs[0], strict=True))


def test_empty_batch():
    inputs = [torch.zeros(shape, requires_grad=True) for shape in ((0, 5, 4), (0, 3, 4), (6, 4), (6,))]
    lengths = torch.zeros(0, dtype=torch.int64)
    loss = joint_lattice(*inputs, torch.zeros(0, 2, dtype=torch.int64), lengths, lengths).loss()
    loss.backward()
    assert loss.item() == 0.0
    assert not inputs[2].grad.any()


def test_memory_is_that_of_a_chunk(make_batch):
    """No tensor that the joint keeps or makes is as large as the logits."""
    batch = make_batch(2, 40, 20, 500)
    inputs = random_inputs(batch, 16, 500)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            largest = max(
                [largest, *(x.numel() for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor))]
            )
            return out

    with Watch():
        joint_lattice(*inputs, *batch.args, chunk=32, backend="torch").loss(backend="torch").backward()
    assert largest <= 32 * 500
    assert batch.logits.numel() > 40 * largest


def test_bad_input_is_named(make_batch):
    batch = make_batch()
    inputs = random_inputs(batch)
    with pytest.raises(ValueError, match="sigmoid"):
        joint_lattice(*inputs, *batch.args, activation="sigmoid")
    with pytest.raises(ValueError, match="widths differ"):
        joint_lattice(inputs[0], inputs[1][..., :3], *inputs[2:], *batch.args)
    batch.targets[2, 1] = 7
    with pytest.raises(InputError, match="utterance 2 of the batch: label 7 at position 1"):
        joint_lattice(*inputs, *batch.args)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("layer", [True, False])
@pytest.mark.parametrize("wide", [0, 1])
def test_sides_of_two_dtypes(make_batch, wide, layer, activation, backend):
    """Float32 beside float64 is computed in float64; so is the divergence."""
    batch = make_batch()
    inputs = random_inputs(batch, width=8 if layer else 6, layer=layer)
    mixed = [x.detach().to(torch.float64 if k in (wide, 2, 3) else torch.float32) for k, x in enumerate(inputs)]
    mixed = [x.requires_grad_() for x in mixed]
    doubles = [x.detach().double().requires_grad_() for x in inputs]

    def losses(tensors):
        both = tensors if layer else [*tensors, None, None]
        loss = joint_lattice(*both, *batch.args, activation=activation, backend=backend).loss(backend=backend)
        teacher = JointInputs(*(None if x is None else x.detach().float() * 0.5 for x in both), activation)
        kl = joint_kl(JointInputs(*both, activation), teacher, *batch.args[1:], backend=backend)
        return loss, *torch.autograd.grad(loss + kl.sum(), tensors)

    found, expected = losses(mixed), losses(doubles)
    assert [x.dtype for x in found[1:]] == [x.dtype for x in mixed]
    torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
