"""What runs on a GPU against plain torch and torchaudio there, and against the CPU."""

from __future__ import annotations

import pytest
import torch

from dualtk.lattice import (
    JointInputs,
    Lattice,
    joint_kl,
    joint_lattice,
    logits_lattice,
    prune_ranges,
    rnnt_loss,
    rnnt_loss_simple,
    three_way,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
SIZES = [(3, 7, 4), (1, 1, 5), (3, 6, 0), (2, 1, 0), (8, 250, 40), (2, 900, 140), (2, 40, 300)]


def on_gpu(*tensors):
    return [x.cuda() for x in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pruned", [False, True])
def test_the_recursion_is_that_of_torch(make_batch, size, dtype, pruned):
    batch = make_batch(*size, 9, seed=size[1])
    lengths = on_gpu(*batch.args[1:])
    full = logits_lattice(batch.logits.to("cuda", dtype), *on_gpu(*batch.args), backend="torch")
    lattice = full
    if pruned:
        ranges = prune_ranges(full.occupation("torch"), *lengths, min(4, size[2] + 1) if size[2] else 2)
        lattice = Lattice(full.blank.gather(2, ranges), full.label.gather(2, ranges), *lengths, ranges)
    options = {"delay_penalty": 0.1, "fastemit_lambda": 0.2}
    expected, found = (lattice.score("none", **options, backend=name) for name in ("torch", "triton"))
    tight = dtype == torch.float64
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12 if tight else 1e-6, atol=1e-9 if tight else 1e-4)
    near = 1e-10 if tight else 2e-5
    torch.testing.assert_close(found.occupation, expected.occupation, rtol=1e-6 if tight else 1e-3, atol=near)


def test_an_impossible_utterance_and_nan_keep_to_themselves(make_batch):
    batch = make_batch(4, 9, 3, 7)
    batch.logits[1, 0] = float("nan")
    batch.logits[2, :, :, 0] = float("-inf")  # no blank: no path ends
    logits = batch.logits.cuda().requires_grad_()
    found = rnnt_loss(logits, *on_gpu(*batch.args), reduction="none", backend="triton")
    expected = rnnt_loss(batch.logits, *batch.args, reduction="none", backend="torch")
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-4, equal_nan=True)
    found[[0, 3]].sum().backward()
    assert bool(torch.isfinite(logits.grad[[0, 3]]).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocabulary", [2, 29, 500, 1024, 4097])
def test_logits_are_reduced_as_by_torch(make_batch, dtype, vocabulary):
    batch = make_batch(4, 50, 12, vocabulary)
    results = {}
    for backend in ("torch", "triton"):
        logits = batch.logits.to("cuda", dtype).requires_grad_()
        loss = rnnt_loss(logits, *on_gpu(*batch.args), reduction="none", backend=backend)
        results[backend] = (loss, torch.autograd.grad(loss.sum(), logits)[0])
    torch.testing.assert_close(results["triton"][0], results["torch"][0], rtol=1e-6, atol=1e-4)
    near = 2e-5 if dtype == torch.float32 else 4e-3
    torch.testing.assert_close(results["triton"][1], results["torch"][1], rtol=1e-3, atol=near)


@pytest.mark.parametrize("size", [(4, 60, 20, 30), (8, 250, 40, 500)])
def test_torchaudio_agrees(make_batch, size):
    functional = pytest.importorskip("torchaudio.functional")
    batch = make_batch(*size)
    logits = batch.logits.cuda().requires_grad_()
    args = on_gpu(*batch.args)
    ours = rnnt_loss(logits, *args, reduction="none", backend="triton")
    theirs = functional.rnnt_loss(logits, *(x.int() for x in args), blank=0, reduction="none")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    grads = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_joint_and_its_divergence_are_those_of_the_cpu(make_batch, activation):
    batch = make_batch(3, 40, 10, 60)
    generator = torch.Generator().manual_seed(3)
    num, frames, cells, vocabulary = batch.logits.shape
    shapes = ((num, frames, 32), (num, cells, 32), (vocabulary, 32), (vocabulary,))
    made = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2)]
    found = []
    for device in ("cpu", "cuda"):
        student, teacher = ([x.to(device).requires_grad_() for x in side] for side in made)
        args = [x.to(device) for x in batch.args]
        simple = rnnt_loss_simple(
            student[0] @ student[2].t(), student[1] @ student[2].t(), *args, lm_scale=0.25, return_occupation=True
        )
        ranges = prune_ranges(simple.occupation, *args[1:], 5)
        lattices = [joint_lattice(*side, *args, ranges=ranges, activation=activation) for side in (student, teacher)]
        divergence = joint_kl(
            JointInputs(*student, activation), JointInputs(*teacher, activation), *args[1:], ranges=ranges
        )
        loss = lattices[0].loss() + simple.loss + 0.1 * three_way(*lattices, 1).kl.sum() + 0.1 * divergence.sum()
        found.append([loss, ranges, *torch.autograd.grad(loss, student)])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=2e-4, atol=2e-4)


def test_a_batch_of_more_cells_than_32_bits_can_count():
    """Two utterances at the far end of a tensor of 2.5e9 logits are those of a small one."""
    size = (16, 800, 99, 2000)
    if torch.cuda.get_device_properties(0).total_memory < 24 * 2**30:
        pytest.skip("needs 24 GiB")
    logits = torch.empty(*size[:2], size[2] + 1, size[3], dtype=torch.bfloat16, device="cuda")
    for row in logits:
        row.normal_()
    logits.requires_grad_()
    targets = torch.randint(1, size[3], (size[0], size[2]), device="cuda")
    lengths = (torch.full((size[0],), length, device="cuda") for length in size[1:3])
    args = (targets, *lengths)
    loss = rnnt_loss(logits, *args, reduction="none", backend="triton")
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    few = logits.detach()[-2:].clone().requires_grad_()
    expected = rnnt_loss(few, *(x[-2:] for x in args), reduction="none", backend="torch")
    (expected_grad,) = torch.autograd.grad(expected.sum(), few)
    torch.testing.assert_close(loss[-2:], expected, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(grad[-2:], expected_grad, rtol=1e-2, atol=1e-4)
