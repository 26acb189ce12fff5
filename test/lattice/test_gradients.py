"""Gradients of every loss under what torch does to autograd functions: compiling, autocast, graphs, inference mode."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dualtk.lattice import (
    JointInputs,
    Lattice,
    joint_kl,
    joint_lattice,
    list_backends,
    rnnt_loss,
    rnnt_loss_pruned,
    rnnt_loss_simple,
    three_way,
)

USABLE = [status.name for status in list_backends() if status.unavailable_reason is None]
WIDTH, VOCABULARY = 5, 6


class Case:
    """A batch, prune ranges of it, and what the losses read; float32 unless asked for otherwise."""

    def __init__(self, make_batch, dtype=torch.float32):
        self.batch = make_batch(3, 7, 4, VOCABULARY)
        starts = torch.tensor([0, 0, 1, 1, 2, 2, 2])
        self.ranges = (starts.view(1, 7, 1) + torch.arange(3)).expand(3, -1, -1).contiguous()
        self.batch.target_lengths[:] = torch.tensor([4, 2, 4])
        self.batch.logit_lengths[:] = torch.tensor([7, 5, 6])
        generator = torch.Generator().manual_seed(3)

        def random(*shape):
            return torch.randn(shape, generator=generator, dtype=dtype)

        self.logits = self.batch.logits.to(dtype)
        self.am, self.lm = random(3, 7, VOCABULARY), random(3, 5, VOCABULARY)
        self.sides = [random(3, 7, WIDTH), random(3, 5, WIDTH)]
        self.layer = [random(VOCABULARY, WIDTH), random(VOCABULARY)]
        self.teacher = JointInputs(random(3, 7, WIDTH), random(3, 5, WIDTH), *self.layer)
        self.cells = [-random(3, 7, 5).abs(), -random(3, 7, 5).abs()]


def kl(case, backend, *leaves):
    return joint_kl(JointInputs(*leaves), case.teacher, *case.batch.args[1:], backend=backend).sum()


def shifted(case, blank, label):
    lengths = case.batch.args[1:]
    return three_way(Lattice(blank, label, *lengths), Lattice(*case.cells[::-1], *lengths), 1).kl.sum()


# Name: the leaves, and the loss of them.
LOSSES = {
    "exact": (lambda c: [c.logits], lambda c, b, x: rnnt_loss(x, *c.batch.args, backend=b)),
    "pruned": (
        lambda c: [c.logits[:, :, :3].contiguous()],
        lambda c, b, x: rnnt_loss_pruned(x, c.batch.targets, c.ranges, *c.batch.args[1:], backend=b),
    ),
    "simple": (
        lambda c: [c.am, c.lm],
        lambda c, b, *x: rnnt_loss_simple(*x, *c.batch.args, lm_scale=0.25, am_scale=0.1, backend=b),
    ),
    "joint": (
        lambda c: [*c.sides, *c.layer],
        lambda c, b, *x: joint_lattice(*x, *c.batch.args, backend=b).loss(backend=b),
    ),
    "pruned joint": (
        lambda c: [*c.sides, *c.layer],
        lambda c, b, *x: joint_lattice(*x, *c.batch.args, ranges=c.ranges, backend=b).loss(backend=b),
    ),
    "additive joint": (
        lambda c: [c.am, c.lm],
        lambda c, b, *x: joint_lattice(*x, None, None, *c.batch.args, backend=b).loss(backend=b),
    ),
    "full KL": (lambda c: [*c.sides, *c.layer], kl),
    "three-way KL": (lambda c: c.cells, lambda c, b, *x: shifted(c, *x)),
    "lattice": (lambda c: c.cells, lambda c, b, *x: Lattice(*x, *c.batch.args[1:]).loss(backend=b)),
}
EVERY_LOSS = pytest.mark.parametrize("name", list(LOSSES))


def leaves_of(case, name):
    return [x.detach().clone().requires_grad_() for x in LOSSES[name][0](case)]


def loss_of(case, name, backend):
    return lambda *leaves: LOSSES[name][1](case, backend, *leaves)


def with_gradients(function, leaves):
    loss = function(*leaves)
    return loss.detach(), torch.autograd.grad(loss, leaves)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's remarks on what it leaves alone
@pytest.mark.skipif(not hasattr(torch, "compile"), reason="this torch does not compile")
@pytest.mark.parametrize(
    ("name", "backend", "dtype"),
    [
        *((name, "torch", torch.float32) for name in LOSSES),
        ("exact", "numba", torch.float32),
        ("exact", "auto", torch.float64),
        ("exact", "auto", torch.bfloat16),
    ],
)
def test_compiled_gradients_are_the_eager_ones(make_batch, name, backend, dtype):
    case = Case(make_batch, dtype)
    torch._dynamo.reset()
    expected = with_gradients(loss_of(case, name, backend), leaves_of(case, name))
    found = with_gradients(torch.compile(loss_of(case, name, backend), backend="eager"), leaves_of(case, name))
    assert all(grad.any() for grad in expected[1])
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not hasattr(torch, "compile"), reason="this torch does not compile")
def test_a_compiled_step_with_its_backward(make_batch):
    case = Case(make_batch)

    def step(logits):
        rnnt_loss(logits * 1.0, *case.batch.args, backend="torch").backward()

    torch._dynamo.reset()
    eager, compiled = leaves_of(case, "exact") + leaves_of(case, "exact")
    step(eager)
    torch.compile(step, backend="eager")(compiled)
    torch.testing.assert_close(compiled.grad, eager.grad)


@pytest.mark.slow
def test_who_does_not_compile_does_not_wait_for_the_compiler():
    code = (
        "import sys, torch; from dualtk.lattice import Lattice; x = torch.zeros(1, 2, 1, requires_grad=True);"
        "Lattice(x, x, torch.tensor([2]), torch.tensor([0])).loss(backend='torch').backward();"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@EVERY_LOSS
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_backward_inside_autocast(make_batch, name, backend):
    case = Case(make_batch)
    expected = with_gradients(loss_of(case, name, backend), leaves_of(case, name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_gradients(loss_of(case, name, backend), leaves_of(case, name))
    assert all(torch.equal(x, y) for x, y in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "three-way KL"])  # which is plain torch
@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_second_derivatives_are_refused(make_batch, name, backend):
    case = Case(make_batch)
    leaves = leaves_of(case, name)
    loss = loss_of(case, name, backend)(*leaves)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, leaves, create_graph=True)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("backend", USABLE)
def test_inference_mode(make_batch, name, backend):
    case = Case(make_batch)
    expected = loss_of(case, name, backend)(*LOSSES[name][0](case))
    with torch.inference_mode():
        args = [x * 1.0 for x in LOSSES[name][0](case)]
        found = loss_of(case, name, backend)(*args)
    assert found.item() == expected.item()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pruned", "pruned joint"])
def test_pruned_gradients_by_finite_differences(make_batch, name):
    case = Case(make_batch, torch.float64)
    assert torch.autograd.gradcheck(loss_of(case, name, "auto"), leaves_of(case, name))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_no_second_derivative(make_batch, reentrant):
    case = Case(make_batch)
    expected = with_gradients(loss_of(case, "joint", "numba"), leaves_of(case, "joint"))
    leaves = leaves_of(case, "joint")
    loss = loss_of(case, "joint", "numba")
    checkpoint(loss, *leaves, use_reentrant=reentrant).backward()
    torch.testing.assert_close(tuple(x.grad for x in leaves), expected[1])
