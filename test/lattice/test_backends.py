"""Every backend against the plain torch one, and what processes and threads may do with the compiled one."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import dualtk
from dualtk.lattice import (
    JointInputs,
    Lattice,
    Softening,
    chosen_backend,
    list_backends,
    logits_lattice,
    prune_ranges,
    rnnt_loss,
)
from dualtk.lattice.backends.numba_kl import NumbaKL
from dualtk.lattice.backends.torch_kl import TorchKL
from dualtk.lattice.backends.triton_backend import TritonBackend
from dualtk.lattice.engines import _choose, choose

USABLE = [status.name for status in list_backends() if status.unavailable_reason is None and status.name != "torch"]


def lattices(make_batch, batch, frames, labels):
    """A full lattice and a pruned one."""
    random = make_batch(batch, frames, labels, 9, seed=frames)
    full = logits_lattice(random.logits, *random.args)
    ranges = prune_ranges(full.occupation(), *random.args[1:], min(4, labels + 1) if labels else 2)
    return [full, Lattice(full.blank.gather(2, ranges), full.label.gather(2, ranges), *random.args[1:], ranges)]


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("size", [(3, 7, 4), (4, 3, 9), (1, 1, 5), (3, 6, 0), (2, 1, 0), (4, 120, 30)])
def test_equal_to_torch(make_batch, backend, size):
    for lattice in lattices(make_batch, *size):
        expected, found = (
            lattice.score("none", delay_penalty=0.1, fastemit_lambda=0.2, backend=name) for name in ("torch", backend)
        )
        # Torchaudio adds up in float32, and so loses digits with the length of an utterance: measured 4e-6 up to seven
        # frames, 2e-4 after 120. `test_torchaudio_agrees_...` of the losses shows that its own gradients lose as many.
        short = lattice.blank.shape[1] < 10
        tolerance = (1e-5 if short else 4e-4) if backend == "torchaudio" else 1e-6
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.occupation, expected.occupation, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("backend", USABLE)
def test_fastemit_and_delay_penalty_are_never_ignored(make_batch, backend):
    batch = make_batch()
    logits = batch.logits.requires_grad_()

    def gradient(**options):
        return torch.autograd.grad(rnnt_loss(logits, *batch.args, backend=backend, **options), logits)[0]

    for option in ("fastemit_lambda", "delay_penalty"):
        assert not torch.allclose(gradient(**{option: 0.5}), gradient(), atol=1e-4)


def test_backends_say_why_they_cannot_be_used():
    statuses = {status.name: status.unavailable_reason for status in list_backends()}
    assert set(statuses) == {"torch", "numba", "triton", "k2", "torchaudio"}
    assert statuses["torch"] is None
    assert statuses["numba"] is None
    if not torch.cuda.is_available():
        assert statuses["triton"] == "there is no CUDA device"


def test_what_cannot_be_done_is_refused(make_batch):
    batch = make_batch()
    with pytest.raises(ValueError, match="no transducer backend is called 'warp'"):
        rnnt_loss(batch.logits, *batch.args, backend="warp")
    if "torchaudio" in USABLE:
        with pytest.raises(ValueError, match="torchaudio: computes in float32 only"):
            rnnt_loss(batch.logits.double(), *batch.args, backend="torchaudio")
    if "triton" not in USABLE:
        with pytest.raises(ValueError, match="transducer backend triton: there is no CUDA device"):
            rnnt_loss(batch.logits, *batch.args, backend="triton")


def test_auto_is_chosen_and_logged_once(make_batch, caplog):
    batch = make_batch()
    _choose.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            rnnt_loss(batch.logits, *batch.args)
    lines = [record.getMessage() for record in caplog.records if "transducer backend auto for" in record.getMessage()]
    recursion = "k2" if "k2" in USABLE else "numba"
    jobs = f"recursion by {recursion}, joint by numba, logits by numba, kl by numba"
    assert lines == [f"transducer backend auto for torch.float32 on cpu: {jobs}"]


JOBS = ("recursion", "joint", "logits", "kl")


@pytest.mark.parametrize(
    ("backend", "dtype", "expected"),
    [
        ("numba", torch.float32, ["numba"] * 4),
        ("numba", torch.float64, ["numba", "torch", "torch", "torch"]),
        ("numba", torch.bfloat16, ["numba", "torch", "torch", "torch"]),
        ("torchaudio", torch.float32, ["torchaudio", "numba", "numba", "numba"]),
        ("torch", torch.float32, ["torch"] * 4),
    ],
)
def test_what_runs_on_the_cpu(backend, dtype, expected):
    if backend not in (*USABLE, "torch"):
        pytest.skip(f"{backend} does not work here")
    assert chosen_backend(backend, "cpu", dtype) == dict(zip(JOBS, expected, strict=True))


@pytest.mark.parametrize(
    ("dtype", "logits"), [(torch.float32, "triton"), (torch.bfloat16, "triton"), (torch.float64, "torch")]
)
def test_what_runs_on_a_gpu(monkeypatch, dtype, logits):
    monkeypatch.setattr(TritonBackend, "unavailable_reason", lambda self: None)
    _choose.cache_clear()
    found = chosen_backend("triton", "cuda", dtype)
    _choose.cache_clear()
    assert found == dict(zip(JOBS, ["triton", logits, logits, "torch"], strict=True))


def test_tensors_of_several_dtypes_are_left_to_torch():
    engines = choose("numba", "cpu", torch.float32, torch.bfloat16)
    assert (engines.joint, engines.logits, engines.kl) == ("torch", "torch", "torch")


@pytest.mark.parametrize(("top_k", "expected"), [(None, NumbaKL), (6, NumbaKL), (5, TorchKL)])
def test_the_divergence_of_the_top_k_classes_is_plain_torch(top_k, expected):
    student = JointInputs(torch.zeros(1, 2, 6), torch.zeros(1, 3, 6))
    engine = choose("numba", "cpu", torch.float32).kl_engine(student, Softening(top_k=top_k), None)
    assert isinstance(engine, expected)


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_python_threads_do_not_disturb_each_other(make_batch):
    batches = [make_batch(4, 60, 20, 50, seed=seed) for seed in range(4)]
    expected = [rnnt_loss(b.logits, *b.args, reduction="none", backend="numba") for b in batches]
    wrong = []

    def work(k):
        for _ in range(20):
            batch = batches[k]
            if not torch.equal(rnnt_loss(batch.logits, *batch.args, reduction="none", backend="numba"), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.usefixtures("two_threads")
def test_a_forked_process_works_after_its_parent_has(make_batch):
    batch = make_batch(4, 60, 20, 50)
    expected = rnnt_loss(batch.logits, *batch.args, backend="numba").item()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # as DataLoader workers do: torch's own OpenMP cannot follow a fork
        same = rnnt_loss(batch.logits, *batch.args, backend="numba").item() == expected
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def run(code: str, folder: Path | None = None, **environment: str) -> str:
    """What a fresh interpreter prints, started in `folder`."""
    source = str(Path(dualtk.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": source, **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LOSS = """
import torch
from dualtk.lattice import rnnt_loss
from dualtk.lattice.backends import recursion_kernels
torch.manual_seed(0)
logits = torch.randn(2, 6, 4, 5, requires_grad=True)
lengths = torch.tensor([6, 4]), torch.tensor([3, 2])
loss = rnnt_loss(logits, torch.randint(1, 5, (2, 3)), *lengths, backend=BACKEND)
loss.backward()
print(recursion_kernels.__file__, loss.item(), logits.grad.norm().item(), sep=chr(10))
"""


@pytest.mark.slow
def test_where_no_folder_can_be_written_a_loss_is_still_computed(tmp_path):
    package = tmp_path / "dualtk"
    shutil.copytree(Path(dualtk.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(p for p in package.rglob("*") if p.is_dir())]:
        (folder / "__pycache__").touch()  # a file in the place of the folder: not even root can write a cache there
    home = tmp_path / "home"
    home.touch()
    places = {"PYTHONPATH": str(tmp_path), "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    file, *found = run(LOSS.replace("BACKEND", "'numba'"), tmp_path, **places).splitlines()
    assert file.startswith(str(tmp_path))
    assert not list(tmp_path.rglob("*.nbi"))
    expected = run(LOSS.replace("BACKEND", "'torch'")).splitlines()[1:]
    assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=1e-5)


@pytest.mark.slow
def test_import_is_quick():
    """Kernels are loaded when they are first used, and from disk; torch's own import is not ours to shorten."""
    code = "import torch, time; t = time.perf_counter(); import dualtk.lattice; print(time.perf_counter() - t)"
    assert any(float(run(code)) < 2.0 for _ in range(3))  # once is enough: other processes may hold the machine


TRITON = """
import torch
from dualtk.lattice import Lattice, prune_ranges
from dualtk.lattice.backends.torch_backend import TorchBackend
from dualtk.lattice.backends.torch_logits import TorchReduction
from dualtk.lattice.backends.triton_backend import TritonBackend
from dualtk.lattice.backends.torch_joint import TorchJoint
from dualtk.lattice.backends.triton_logits import TritonReduction, TritonRows
from dualtk.lattice.cell_list import NO_CELL, make_cell_list
from dualtk.lattice.inputs import JointInputs
from dualtk.lattice.next_labels import NextLabels

torch.manual_seed(0)
for vocabulary, dtype in ((7, torch.float32), (1100, torch.float32), (7, torch.bfloat16)):
    logits = (3 * torch.randn(2, 4, 4, vocabulary)).to(dtype)
    logits[0, 0, 0, :2] = 1e4
    targets = torch.randint(1, vocabulary, (2, 3))
    lengths = torch.tensor([4, 2]), torch.tensor([3, 1])
    labels = NextLabels(targets, *lengths, None)
    label = labels.of_cells(4)
    ours, theirs = (r.scores(logits, labels, 0) for r in (TritonReduction(), TorchReduction()))
    inside = label > NO_CELL
    for x, y in zip(ours, theirs):
        torch.testing.assert_close(x[inside], y[inside], rtol=1e-5, atol=1e-5)
    given = torch.randn(2, 2, 4, 4)
    grads = [r.gradient(logits, labels, 0, theirs[2], *given) for r in (TritonReduction(), TorchReduction())]
    torch.testing.assert_close(*grads, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)
    full = Lattice(*theirs[:2], *lengths)
    ranges = prune_ranges(full.occupation("torch"), *lengths, 2)
    pruned = Lattice(full.blank.gather(2, ranges), full.label.gather(2, ranges), *lengths, ranges)
    pair = lengths
    lengths = torch.tensor([3, 2], dtype=torch.int32), torch.tensor([69, 40], dtype=torch.int32)
    wide = Lattice(-torch.rand(2, 3, 70), -torch.rand(2, 3, 70), *lengths)  # a row is more than one warp holds
    some = NextLabels(targets, *pair, ranges)
    few = logits.gather(2, ranges.unsqueeze(3).expand(-1, -1, -1, vocabulary))
    inside = some.of_cells(4) > NO_CELL
    for x, y in zip(*(r.scores(few, some, 0) for r in (TritonReduction(), TorchReduction()))):
        torch.testing.assert_close(x[inside], y[inside], rtol=1e-5, atol=1e-5)
    layer = torch.randn(vocabulary, 8), torch.randn(vocabulary)
    for weight, width in ((layer, 8), ((None, None), vocabulary)):
        inputs = JointInputs(torch.randn(2, 4, width), torch.randn(2, 4, width), *weight)
        cells = make_cell_list(targets, *pair, 4, None)
        found = []
        for engine in (TorchJoint(5, TritonRows(), sparse=True), TorchJoint(5)):
            scores = engine.forward(inputs, cells, 0)
            wanted = (scores.blank * 0.3, scores.label.masked_fill(cells.label < 0, 0.0) * 0.2)
            wanted[0][:7] = 0.0
            wanted[1][:7] = 0.0
            found.append((*scores, *vars(engine.backward(inputs, cells, 0, scores.normaliser, *wanted)).values()))
        for x, y in zip(*found):
            assert (x is None) == (y is None)
            if x is not None:
                torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
    for lattice in (full, pruned, wide):
        ours, theirs = (b.recursion(lattice.cells()) for b in (TritonBackend(), TorchBackend()))
        torch.testing.assert_close(ours.log_likelihood, theirs.log_likelihood)
        torch.testing.assert_close(ours.occupation, theirs.occupation, rtol=1e-5, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_triton_kernels_in_its_interpreter():
    pytest.importorskip("triton")
    assert run(TRITON, TRITON_INTERPRET="1").strip() == "equal"
