"""Speed and memory of the transducer losses beside their peers, in one table.

    python tools/bench/transducer.py [--rounds 7] [--k2-python .venv-k2/bin/python] [--write]

Everything in a row is measured in the same run on the same tensors, in turns, forward and backward in float32; numbers
are medians over the rounds. Rows with k2 run in the environment of tools/install_k2.sh, where both sides are measured.
`--write` puts the table into tools/bench/README.md. GPU rows appear where there is a GPU.

Axes: B batch, T frames, U labels, J joiner width, V vocabulary, S prune range.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from dualtk.transducer import (  # noqa: E402
    Lattice,
    joint_lattice,
    prune_ranges,
    prune_ranges_shared,
    rnnt_loss,
    rnnt_loss_simple,
    three_way,
)
from dualtk.transducer.backends.threads import empty  # noqa: E402
from dualtk.transducer.logits import next_labels  # noqa: E402

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio that must be at least (or at most) its target."""

    work: str
    peer: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    target: float
    at_least: bool
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


def in_turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work in each round; all works take a turn in every round, after one round of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(work: str, ours: Work, peer: str, theirs: Work, rounds: int, target: float, at_least: bool = True) -> Row:
    """A row of times; the ratio is peer / ours where more is better, ours / peer where less is better."""
    seconds = in_turns({"ours": ours, "peer": theirs}, rounds)
    pairs = list(zip(seconds["ours"], seconds["peer"]))
    ratio = statistics.median(b / a if at_least else a / b for a, b in pairs)
    mine, other = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    return Row(work, peer, 1e3 * mine, 1e3 * other, "ms", ratio, target, at_least)


def peak_mebibytes(work: Work) -> float:
    """How far resident memory rises above its level before the work (Linux)."""
    work()  # what stays, such as libraries and thread stacks, is not counted
    status = Path("/proc/self/status")

    def read(key: str) -> float:
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    work()
    return max(read("VmHWM") - before, 0.1)


class Batch:
    """Random inputs of full length; the losses alone are measured, so nothing here is a model."""

    def __init__(self, size: tuple[int, int, int, int], width: int = 512, device: str = "cpu") -> None:
        num, frames, labels, vocabulary = size
        torch.manual_seed(0)
        self.targets = torch.randint(1, vocabulary, (num, labels), device=device)
        self.lengths = (torch.full((num,), frames, device=device), torch.full((num,), labels, device=device))
        self.size, self.width, self.device = size, width, device
        self.weight = (torch.randn(vocabulary, width, device=device) / width**0.5).requires_grad_()
        self.bias = torch.zeros(vocabulary, device=device, requires_grad=True)

    def joint(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder (B, T, J) and predictor (B, U + 1, J) sides."""
        num, frames, labels, _ = self.size
        shapes = ((num, frames, self.width), (num, labels + 1, self.width))
        encoder, predictor = (torch.randn(shape, device=self.device) for shape in shapes)
        return encoder.requires_grad_(), predictor.requires_grad_()

    def simple(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Am (B, T, V) and lm (B, U + 1, V)."""
        num, frames, labels, vocabulary = self.size
        shapes = ((num, frames, vocabulary), (num, labels + 1, vocabulary))
        am, lm = (torch.randn(shape, device=self.device) for shape in shapes)
        return am.requires_grad_(), lm.requires_grad_()

    def logits(self) -> torch.Tensor:
        """(B, T, U + 1, V)."""
        num, frames, labels, vocabulary = self.size
        return torch.randn(num, frames, labels + 1, vocabulary, device=self.device).requires_grad_()


def _labels(batch: Batch) -> torch.Tensor:
    return next_labels(batch.targets, *batch.lengths, batch.size[1], None)


def exact_rows(rounds: int, device: str = "cpu", target: float = 10.0) -> Iterator[Row]:
    """The loss of given logits."""
    from torchaudio.functional import rnnt_loss as torchaudio_loss

    from dualtk.transducer.backends.numba_logits import NumbaReduction

    for size in ((8, 250, 40, 500), (4, 400, 60, 500)):
        batch = Batch(size, device=device)
        logits = batch.logits()
        args = [x.int() for x in (batch.targets, *batch.lengths)]

        def ours(logits: torch.Tensor = logits, batch: Batch = batch) -> None:
            torch.autograd.grad(rnnt_loss(logits, batch.targets, *batch.lengths), logits)

        def peer(logits: torch.Tensor = logits, args: list[torch.Tensor] = args) -> None:
            torch.autograd.grad(torchaudio_loss(logits, *args, blank=0), logits)

        def floor(logits: torch.Tensor = logits, batch: Batch = batch) -> None:
            NumbaReduction().scores(logits.detach(), _labels(batch), 0)
            empty(tuple(logits.shape)).fill_(1.0)

        name = f"exact loss {size} on {device}"
        yield compare(name, ours, "torchaudio", peer, rounds, target)
        if device == "cpu":
            yield compare(name, ours, "floor: one logsumexp pass + one write", floor, rounds, 2.0, False)
        else:
            copy = in_turns({"ours": ours, "copy": lambda logits=logits: logits.clone()}, rounds)
            ratio = statistics.median(1.5 * b / a for a, b in zip(copy["ours"], copy["copy"]))  # 3 passes, a copy is 2
            mine, other = (1e3 * statistics.median(copy[name]) for name in ("ours", "copy"))
            yield Row(name, "bandwidth of a copy", mine, other, "ms", ratio, 0.6, True)


def pruned_step(
    batch: Batch, am: torch.Tensor, lm: torch.Tensor, encoder: torch.Tensor, predictor: torch.Tensor
) -> Work:
    """Simple loss, ranges, joiner, pruned loss, and all gradients."""

    def work() -> None:
        found = rnnt_loss_simple(
            am, lm, batch.targets, *batch.lengths, lm_scale=0.25, return_occupation=True, backend="numba"
        )
        ranges = prune_ranges(found.occupation, *batch.lengths, 5)
        joint = (encoder, predictor, batch.weight, batch.bias)
        lattice = joint_lattice(*joint, batch.targets, *batch.lengths, ranges=ranges, backend="numba")
        loss = 0.5 * found.loss + lattice.loss(backend="numba")
        torch.autograd.grad(loss, (am, lm, *joint))

    return work


def k2_rows(rounds: int) -> Iterator[Row]:
    """Run in k2's environment: k2 and our numba backend on the same tensors."""
    import k2

    batch = Batch((16, 400, 60, 500))
    am, lm = batch.simple()
    encoder, predictor = batch.joint()
    boundary = torch.zeros(16, 4, dtype=torch.int64)
    boundary[:, 2], boundary[:, 3] = batch.lengths[1], batch.lengths[0]

    def peer() -> None:
        simple, grads = k2.rnnt_loss_smoothed(lm, am, batch.targets, 0, 0.25, 0.0, boundary, return_grad=True)
        ranges = k2.get_rnnt_prune_ranges(*grads, boundary, 5)
        left, right = k2.do_rnnt_pruning(encoder, predictor, ranges)
        logits = torch.nn.functional.linear(torch.tanh(left + right), batch.weight, batch.bias)
        loss = 0.5 * simple + k2.rnnt_loss_pruned(logits, batch.targets, ranges, 0, boundary)
        torch.autograd.grad(loss, (am, lm, encoder, predictor, batch.weight, batch.bias))

    ours = pruned_step(batch, am, lm, encoder, predictor)
    yield compare(
        "simple + ranges + joiner (J = 512) + pruned loss (16, 400, 60, 500), S = 5", ours, "k2", peer, rounds, 2.0
    )

    scores = torch.randn(16, 400, 61, 3).log_softmax(3)
    blank, label = scores[..., 0].contiguous().requires_grad_(), scores[..., 1].contiguous().requires_grad_()
    px = torch.full((16, 60, 401), float("-inf"))
    px[:, :, :400] = scores[..., :60, 1].transpose(1, 2)  # (B, T, U) -> (B, U, T)
    py = scores[..., 0].transpose(1, 2).contiguous().requires_grad_()  # (B, T, U + 1) -> (B, U + 1, T)
    px.requires_grad_()

    def recursion() -> None:
        loss = Lattice(blank, label, *batch.lengths).loss("sum", backend="numba")
        torch.autograd.grad(loss, (blank, label))

    def information() -> None:
        torch.autograd.grad(k2.mutual_information_recursion(px, py, boundary).sum(), (px, py))

    yield compare("the recursion alone (16, 400, 60)", recursion, "k2's mutual information", information, rounds, 3.0)


def joint_rows(rounds: int, device: str = "cpu") -> Iterator[Row]:
    """CoDERT's size, against the same computation with all logits held."""
    batch = Batch((8, 400, 60, 4097), width=640, device=device)
    encoder, predictor = batch.joint()
    tensors = (encoder, predictor, batch.weight, batch.bias)

    def ours() -> None:
        torch.autograd.grad(joint_lattice(*tensors, batch.targets, *batch.lengths).loss(), tensors)

    def peer() -> None:
        hidden = torch.tanh(encoder.unsqueeze(2) + predictor.unsqueeze(1))
        logits = torch.nn.functional.linear(hidden, batch.weight, batch.bias)
        torch.autograd.grad(rnnt_loss(logits, batch.targets, *batch.lengths), tensors)

    name, other = f"joint_lattice (8, 400, 60, 4097), J = 640 on {device}", "materialised logits, our exact loss"
    yield compare(name, ours, other, peer, max(1, rounds // 3), 1.3, False)
    if device == "cpu":
        mine, theirs = peak_mebibytes(ours), peak_mebibytes(peer)
    else:
        mine, theirs = cuda_mebibytes(ours), cuda_mebibytes(peer)
    yield Row(name, other, mine, theirs, "MiB", mine / theirs, 0.1, False)


def cuda_mebibytes(work: Work) -> float:
    """Peak of torch's allocator above its level before the work."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def dual_rows(rounds: int) -> Iterator[Row]:
    """Two passes over one batch."""
    batch = Batch((16, 400, 60, 500))
    passes = [(*batch.simple(), *batch.joint()) for _ in range(2)]
    layer = (batch.weight, batch.bias)
    leaves = (*passes[0], *passes[1], *layer)

    def lattices(ranges: torch.Tensor) -> list[Lattice]:
        return [joint_lattice(*p[2:], *layer, batch.targets, *batch.lengths, ranges=ranges) for p in passes]

    simple = [rnnt_loss_simple(*p[:2], batch.targets, *batch.lengths, return_occupation=True) for p in passes]
    fixed = prune_ranges_shared(simple[0].occupation, simple[1].occupation, *batch.lengths, 5)
    joint_leaves = (*passes[0][2:], *passes[1][2:], *layer)

    def losses() -> None:
        teacher, student = lattices(fixed)
        torch.autograd.grad(teacher.loss() + student.loss(), joint_leaves)

    def losses_and_kl() -> None:
        teacher, student = lattices(fixed)
        kl = three_way(student, teacher, 1)
        torch.autograd.grad(teacher.loss() + student.loss() + kl.kl.sum() / kl.mask.sum(), joint_leaves)

    name = "3-way KL added to two pruned passes (16, 400, 60, 500)"
    yield compare(name, losses_and_kl, "the two losses alone", losses, rounds, 1.05, False)
    mine, theirs = peak_mebibytes(losses_and_kl), peak_mebibytes(losses)
    yield Row(name, "the two losses alone", mine, theirs, "MiB", mine / theirs, 1.05, False)

    def dual() -> None:
        found = [
            rnnt_loss_simple(*p[:2], batch.targets, *batch.lengths, lm_scale=0.25, return_occupation=True)
            for p in passes
        ]
        shared = prune_ranges_shared(found[0].occupation, found[1].occupation, *batch.lengths, 5)
        teacher, student = lattices(shared)
        kl = three_way(student, teacher, 1)
        loss = sum((0.5 * x.loss for x in found), teacher.loss() + student.loss() + kl.kl.sum() / kl.mask.sum())
        torch.autograd.grad(loss, leaves)

    def separate() -> None:
        for p in passes:
            pruned_step(batch, *p)()

    yield compare(
        "dual pass: both losses and KL on shared ranges", dual, "two models' losses", separate, rounds, 1.0, False
    )


def cuda_rows(rounds: int) -> Iterator[Row]:
    """Where there is a GPU."""
    yield from exact_rows(rounds, "cuda", 1.5)
    yield from joint_rows(rounds, "cuda")


def from_k2_environment(python: Path, rounds: int) -> list[Row]:
    """The rows that k2 measures, or none where its environment is not installed."""
    if not python.exists():
        print(f"left out: the rows with k2, since {python} is missing (tools/install_k2.sh makes it)", file=sys.stderr)
        return []
    command = [str(python), __file__, "--k2-rows", "--rounds", str(rounds)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [Row(**fields) for fields in json.loads(lines[-1])]


def machine() -> str:
    """What was measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0].split(":")[1].strip() if names else platform.processor()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = os.getloadavg()[0]
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {gpu}, torch {torch.__version__}; "
        f"load before the run {load:.1f}."
    )


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| work | peer | ours | peer's | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        sign, kind = (">=", "faster by") if row.at_least else ("<=", "ours / peer's")
        cells = [row.work, row.peer, f"{row.ours:.1f} {row.unit}", f"{row.theirs:.1f} {row.unit}"]
        cells += [f"{kind} {row.ratio:.2f}", f"{sign} {row.target:g}", "met" if row.met else "**missed**"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the text between the markers of README.md, which keeps whatever else is there."""
    readme = HERE / "README.md"
    begin, end = "<!-- transducer:begin -->", "<!-- transducer:end -->"
    old = readme.read_text(encoding="utf-8") if readme.exists() else f"# Benchmarks\n\n{begin}\n{end}\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    after = rest.split(end, 1)[1]
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--k2-python", type=Path, default=ROOT / ".venv-k2/bin/python")
    parser.add_argument("--only", default="", help="rows of one group: exact, k2, joint, dual, cuda")
    parser.add_argument("--k2-rows", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="update tools/bench/README.md")
    options = parser.parse_args()
    if options.k2_rows:
        print(json.dumps([asdict(row) for row in k2_rows(options.rounds)]))
        return 0
    description = machine()
    groups: dict[str, Callable[[], object]] = {
        "exact": lambda: list(exact_rows(options.rounds)),
        "k2": lambda: from_k2_environment(options.k2_python, options.rounds),
        "dual": lambda: list(dual_rows(options.rounds)),
        "joint": lambda: list(joint_rows(options.rounds)),
    }
    if torch.cuda.is_available():
        groups["cuda"] = lambda: list(cuda_rows(options.rounds))
    rows: list[Row] = []
    for name, group in groups.items():
        if options.only in ("", name):
            rows += group()  # type: ignore[arg-type]
            print(table(rows[-4:]), flush=True)
    text = f"{description} Medians of {options.rounds} rounds, in turns.\n\n{table(rows)}"
    print(f"\n{text}")
    if options.write:
        write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
