"""Masks in training: what the log says, resuming, and many processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from tiny import train_arguments
from two_processes import torchrun

from dualtk.bin import extract
from dualtk.bin.train import main
from dualtk.errors import InputError
from dualtk.pruning.packing import read_tensors
from dualtk.pruning.schedule import SparsitySchedule

pytestmark = pytest.mark.slow

SCHEDULE = SparsitySchedule(shape="linear", start_step=2, end_step=8, interval=2)
SUPERNET = [
    "modes.streaming.sparsity=0.7",
    "pruning={pattern: unstructured, scope: layer, schedule: {shape: linear, start_step: 2, end_step: 8, interval: 2}}",
]

WORKER = """
import sys
import torch
from small_networks import conformer, INPUT_DIM, MODE_NAMES
from torch import nn
from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.pruning.pruner import PruningOptions
from dualtk.pruning.schedule import SparsitySchedule
from dualtk.train.distributed import world

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = conformer()
    def forward(self, feats, lengths):
        modes = (FULL_CONTEXT, SPARSE)
        return sum(self.encoder(feats, lengths, mode).frames.square().mean() for mode in modes)

SPARSE = streaming(chunk=2, left_context=4, sparsity=0.7)
with world("cpu") as here:
    torch.manual_seed(here.rank)  # other weights and other data on every process
    own = Both()
    schedule = SparsitySchedule(shape="linear", start_step=1, end_step=5)
    options = PruningOptions(scope="global", schedule=schedule)
    options.add_masks(own, [SPARSE])
    pruner = options.build(own, [SPARSE])
    here.share([*own.parameters(), *own.buffers()])
    optimizer = torch.optim.Adam(own.parameters(), 0.01)
    for step in range(7):
        pruner.update(step)
        optimizer.zero_grad()
        here.share(own.buffers())
        own(torch.randn(2, 24, INPUT_DIM), torch.tensor([24, 20])).backward()
        here.average(own)
        optimizer.step()
    pruner.draw()
    torch.save(own.state_dict(), f"{sys.argv[1]}/{here.rank}.pt")
"""


def metrics(exp: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_the_log_follows_the_schedule_and_the_kept_network_is_sparse(corpus: Path, tmp_path: Path) -> None:
    assert main(train_arguments(corpus, tmp_path / "exp", *SUPERNET)) == 0
    for line in metrics(tmp_path / "exp", "train"):
        expected = 0.7 * SCHEDULE.fraction(int(line["step"]) - 1)  # the step that led there
        assert line["streaming/sparsity"] == pytest.approx(expected, abs=0.01)
    tensors = load_file(tmp_path / "exp/model.safetensors")
    masks = {key: value for key, value in tensors.items() if key.endswith("mask_streaming")}
    assert masks
    for mask in masks.values():
        assert int((~mask).sum()) == round(0.7 * mask.numel())
    # Of the evaluations at steps 4, 8 and 12 only the last has complete masks, whatever its loss.
    assert [path.stem for path in (tmp_path / "exp/checkpoints").glob("step-*")] == ["step-12"]


def test_a_resumed_run_has_the_same_masks(corpus: Path, tmp_path: Path) -> None:
    """Stopped between two updates of the masks, with an update, and when they are complete."""
    each = [*SUPERNET, "train.save_every=1"]
    assert main(train_arguments(corpus, tmp_path / "whole", *each)) == 0
    for step in (5, 6, 10):
        with stopped_after(step):
            main(train_arguments(corpus, tmp_path / "parts", *each))
    assert main(train_arguments(corpus, tmp_path / "parts", *each)) == 0
    states = [torch.load(tmp_path / exp / "checkpoints/last.pt", weights_only=True) for exp in ("whole", "parts")]
    for key, value in states[0]["objective"].items():
        assert torch.equal(value, states[1]["objective"][key]), key
    assert any(key.endswith("mask_streaming") for key in states[0]["objective"])


def test_without_a_step_a_dense_network_is_pruned_in_one_shot(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same weights as `dualtk extract` leaves, which masks them in a file; asked for again, nothing is to do."""
    dense, exp = tmp_path / "dense", tmp_path / "exp"
    assert main(train_arguments(corpus, dense, "train.max_steps=2")) == 0
    once = ["modes.streaming.sparsity=0.7", "pruning={schedule: {shape: constant}}", f"init={{exp: {dense}}}"]
    once += ["train.max_steps=0"]
    assert main(train_arguments(corpus, exp, *once)) == 0
    arguments = ["--exp", str(dense), "--mode", "streaming", "--sparsity", "0.7", str(tmp_path / "compact")]
    assert extract.main(arguments) == 0
    before, after = load_file(dense / "model.safetensors"), load_file(exp / "model.safetensors")
    compact = read_tensors(tmp_path / "compact/model.safetensors")
    masks = {key.removesuffix("mask_streaming"): mask for key, mask in after.items() if key.endswith("mask_streaming")}
    for key, value in before.items():
        assert torch.equal(after[key], value), key
    for layer, mask in masks.items():
        assert int((~mask).sum()) == round(0.7 * mask.numel())
        assert torch.equal(after[f"{layer}weight"] * mask, compact[f"{layer}weight"])
    assert [line["step"] for line in metrics(exp, "valid")] == [0]
    written = (exp / "model.safetensors").stat().st_mtime_ns
    assert main(train_arguments(corpus, exp, *once)) == 0
    assert (exp / "model.safetensors").stat().st_mtime_ns == written
    assert [line["step"] for line in metrics(exp, "valid")] == [0]
    assert "never reached" not in capsys.readouterr().err + (exp / "train.log").read_text(encoding="utf-8")


def test_two_processes_have_equal_masks(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    here = Path(__file__).resolve().parents[1]
    torchrun(str(tmp_path / "worker.py"), str(tmp_path), paths=(here,), may_warn=True)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    masks = 0
    for key, value in states[0].items():
        if "running" in key:  # each process has seen batches of its own
            continue
        masks += key.endswith("mask_streaming")
        assert torch.equal(value, states[1][key]), key
    assert masks > 10


def test_a_supernet_of_many_sizes_trains_three_in_a_step(corpus: Path, tmp_path: Path) -> None:
    sizes = {"a": 0.0, "b": 0.5, "c": 0.7, "d": 0.9}
    modes = ", ".join(f"{name}: {{chunk: 2, left_context: 8, sparsity: {size}}}" for name, size in sizes.items())
    passes = ", ".join(f"{name}: {{}}" for name in ("full", *sizes))
    omni = [f"modes={{full: {{full_context: true}}, {modes}}}", f"passes={{{passes}}}", *SUPERNET[1:]]
    omni += ["pruning.sandwich=true", "train.accumulate=1"]
    assert main(train_arguments(corpus, tmp_path / "exp", *omni)) == 0
    seen = set()
    for line in metrics(tmp_path / "exp", "train"):
        ran = {key.partition("/")[0] for key in line if key.endswith("/rnnt")}
        assert len(ran) == 4
        assert {"full", "a", "d"} <= ran
        seen |= ran
    assert seen == {"full", *sizes}
    assert {f"{name}/rnnt" for name in sizes} <= metrics(tmp_path / "exp", "valid")[-1].keys()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["modes.streaming.sparsity=0.5"], r"modes\.streaming\.sparsity: there is no section `pruning`"),
        ([SUPERNET[1]], "pruning: no mode is sparse"),
        ([*SUPERNET, "pruning.pattern='2:4'"], r"modes\.streaming\.sparsity: 2:4 removes 0\.5 at most"),
        ([*SUPERNET, "pruning.pattern=0x8"], r"pruning\.pattern: '0x8' is not unstructured"),
        ([*SUPERNET, "pruning.schedule.end_step=12"], "masks are not complete before"),
        ([*SUPERNET, "pruning.schedule.end_step=2"], "end_step: 2 is not after start_step, 2"),
        (["train.max_steps=0"], r"train\.max_steps: 0 trains nothing, and there is no section `init`"),
        ([*SUPERNET, "pruning.sandwich=true"], r"pruning\.sandwich: needs at least four streaming passes"),
    ],
)
def test_faults_are_named(corpus: Path, tmp_path: Path, overrides: list[str], line: str) -> None:
    with pytest.raises(InputError, match=line):
        main(train_arguments(corpus, tmp_path / "exp", *overrides))
