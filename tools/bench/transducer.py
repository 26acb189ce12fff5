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
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from measure import Row, Work, compare, cuda_mebibytes, in_turns, machine, peak_mebibytes, table, write  # noqa: E402
from works import Batch, Dual, Pruned, random_lattice, recursion  # noqa: E402

from dualtk.lattice import joint_lattice, rnnt_loss, three_way  # noqa: E402
from dualtk.lattice.backends.threads import empty  # noqa: E402
from dualtk.lattice.next_labels import NextLabels  # noqa: E402


def _labels(batch: Batch) -> NextLabels:
    return NextLabels(batch.targets, *batch.lengths, None)


def exact_rows(rounds: int, device: str = "cpu", target: float = 10.0) -> Iterator[Row]:
    """The loss of given logits."""
    from torchaudio.functional import rnnt_loss as torchaudio_loss

    from dualtk.lattice.backends.numba_logits import NumbaReduction

    large = [] if device == "cpu" else [(16, 400, 100, 1024)]
    for size in [(8, 250, 40, 500), (4, 400, 60, 500), *large]:
        batch = Batch(size, device=device)
        logits = batch.logits()
        args = [x.int() for x in (batch.targets, *batch.lengths)]

        def work(logits: torch.Tensor = logits, batch: Batch = batch) -> None:
            torch.autograd.grad(rnnt_loss(logits, batch.targets, *batch.lengths), logits)

        def peer(logits: torch.Tensor = logits, args: list[torch.Tensor] = args) -> None:
            torch.autograd.grad(torchaudio_loss(logits, *args, blank=0), logits)

        def floor(logits: torch.Tensor = logits, batch: Batch = batch) -> None:
            NumbaReduction().scores(logits.detach(), _labels(batch), 0)
            empty(tuple(logits.shape)).fill_(1.0)

        name = f"exact loss {size} on {device}"
        yield compare(name, work, "torchaudio", peer, rounds, target)
        if device == "cpu":
            yield compare(name, work, "floor: one logsumexp pass + one write", floor, rounds, 2.0, False)
        else:
            copy = in_turns({"loss": work, "copy": logits.detach().clone}, rounds)
            ratio = statistics.median(1.5 * b / a for a, b in zip(copy["loss"], copy["copy"]))  # 3 passes, a copy is 2
            mine, other = (1e3 * statistics.median(copy[name]) for name in ("loss", "copy"))
            yield Row(name, "bandwidth of a copy", mine, other, "ms", ratio, 0.6, True)


PRUNED = "simple + ranges + joiner (J = 512) + pruned loss (16, 400, 60, 500), S = 5"


def k2_rows(rounds: int) -> Iterator[Row]:
    """Run in k2's environment: k2 and dualtk's numba backend on the same tensors."""
    import k2

    batch = Batch((16, 400, 60, 500))
    step = Pruned.random(batch)
    yield compare(PRUNED, step.dualtk("numba"), "k2", step.k2, rounds, 2.0)

    lattice = random_lattice(batch)
    px = torch.full((16, 60, 401), float("-inf"))
    px[:, :, :400] = lattice.label.detach()[..., :60].transpose(1, 2)  # (B, T, U) -> (B, U, T)
    py = lattice.blank.detach().transpose(1, 2).contiguous().requires_grad_()  # (B, T, U + 1) -> (B, U + 1, T)
    px.requires_grad_()

    def information() -> None:
        torch.autograd.grad(k2.mutual_information_recursion(px, py, batch.boundary()).sum(), (px, py))

    work = recursion(lattice, "numba")
    yield compare("the recursion alone (16, 400, 60)", work, "k2's mutual information", information, rounds, 3.0)


def device_rows(rounds: int, device: str, backend: str) -> Iterator[Row]:
    """The pruned loss and the recursion on a device where k2 may be missing."""
    batch = Batch((16, 400, 60, 500), device=device)
    step = Pruned.random(batch)
    name, peer = "pruned logits held, torch reference", step.materialised
    if k2_runs_on(device):
        name, peer = "k2", step.k2
    yield compare(f"{PRUNED}, on {device}", step.dualtk(backend), name, peer, rounds, 2.0)
    lattice = random_lattice(batch)
    works = recursion(lattice, backend), recursion(lattice, "torch")
    yield compare(f"the recursion alone (16, 400, 60) on {device}", works[0], "torch backend", works[1], rounds, 3.0)


def k2_runs_on(device: str) -> bool:
    """Whether there is a k2 that was built for the device."""
    try:
        import k2
    except ImportError:
        return False
    return device == "cpu" or bool(k2.with_cuda)


@dataclass(frozen=True)
class Pair:
    """The same work done in two ways."""

    name: str
    peer_name: str
    work: Work
    peer: Work


def joint_pair(device: str = "cpu") -> Pair:
    """CoDERT's size, against the same computation with all logits held."""
    batch = Batch((8, 400, 60, 4097), width=640, device=device)
    encoder, predictor = batch.joint()
    tensors = (encoder, predictor, batch.weight, batch.bias)

    def work() -> None:
        torch.autograd.grad(joint_lattice(*tensors, batch.targets, *batch.lengths).loss(), tensors)

    def peer() -> None:
        hidden = torch.tanh(encoder.unsqueeze(2) + predictor.unsqueeze(1))
        logits = torch.nn.functional.linear(hidden, batch.weight, batch.bias)
        torch.autograd.grad(rnnt_loss(logits, batch.targets, *batch.lengths), tensors)

    name = f"joint_lattice (8, 400, 60, 4097), J = 640 on {device}"
    return Pair(name, "materialised logits, exact loss", work, peer)


def joint_rows(rounds: int, device: str = "cpu") -> Iterator[Row]:
    """Time of the largest joint."""
    pair = joint_pair(device)
    yield compare(pair.name, pair.work, pair.peer_name, pair.peer, max(1, rounds // 3), 1.3, False)


CELL_TENSORS = (
    "the KL's own tensors of one number for each cell, 2 to 3 MiB whatever the width of the joint and the vocabulary; "
    "without the KL both sides of this row are equal."
)


def memory_rows() -> Iterator[Row]:
    """Peak memory, in a process whose allocator gives memory back."""
    for pair, target, rounds, note in ((joint_pair(), 0.1, 1, ""), (kl_pair(), 1.05, 9, CELL_TENSORS)):
        # How much of a peak one thread adds to the other's depends on when each gets there: hence the median of many.
        peaks = [(peak_mebibytes(pair.work), peak_mebibytes(pair.peer)) for _ in range(rounds)]
        mine, other = (statistics.median(side) for side in zip(*peaks))
        yield Row(pair.name, pair.peer_name, mine, other, "MiB", mine / other, target, False, note)


def kl_pair(every_cell: bool = False) -> Pair:
    """The losses of two passes, with and without the KL between them.

    With `every_cell` the losses alone too have a gradient in every cell of the student, as the KL gives it.
    """
    dual = Dual()
    ranges = dual.ranges(dual.occupation(0), dual.occupation(1))

    def losses() -> None:
        teacher, student = (dual.lattice(index, ranges) for index in range(2))
        loss = teacher.loss() + student.loss()
        if every_cell:
            loss = loss + 1e-4 * student.blank.masked_fill(~student.mask(), 0.0).sum()
        torch.autograd.grad(loss, dual.joint)

    def losses_and_kl() -> None:
        teacher, student = (dual.lattice(index, ranges) for index in range(2))
        kl = three_way(student, teacher, 1)
        torch.autograd.grad(teacher.loss() + student.loss() + kl.kl.sum() / kl.mask.sum(), dual.joint)

    peer = "the two losses, all cells of the student kept" if every_cell else "the two losses alone"
    return Pair("3-way KL added to two pruned passes (16, 400, 60, 500)", peer, losses_and_kl, losses)


EVERY_CELL = (
    "a loss alone gives no gradient to cells that no path visits, and backward leaves them out; the KL gives one to "
    "every cell of the student, so their matrix products return (the row whose peer keeps these cells has the rest)."
)


def dual_rows(rounds: int) -> Iterator[Row]:
    """What a dual system adds to its two losses."""
    pair = kl_pair()
    yield compare(pair.name, pair.work, pair.peer_name, pair.peer, rounds, 1.05, False, EVERY_CELL)
    pair = kl_pair(every_cell=True)
    yield compare(pair.name, pair.work, pair.peer_name, pair.peer, rounds, 1.05, False)
    dual = Dual()
    leaves = (*dual.am, dual.lm[0], *dual.joint)

    def together() -> None:
        first, second = dual.occupation(0), dual.occupation(1)
        shared = dual.ranges(first, second)
        teacher, student = (dual.lattice(index, shared) for index in range(2))
        kl = three_way(student, teacher, 1)
        loss = 0.5 * (first.loss + second.loss) + teacher.loss() + student.loss() + kl.kl.sum() / kl.mask.sum()
        torch.autograd.grad(loss, leaves)

    def separate() -> None:
        for tensors in zip(dual.am, dual.lm, dual.encoder, dual.predictor):
            Pruned(dual.batch, *tensors).dualtk("auto")()

    name = "dual pass: both losses and KL on shared ranges"
    yield compare(name, together, "two models' losses", separate, rounds, 1.0, False, EVERY_CELL)


def cuda_rows(rounds: int) -> Iterator[Row]:
    """Where there is a GPU."""
    yield from exact_rows(rounds, "cuda", 1.5)
    yield from device_rows(rounds, "cuda", "triton")
    yield from joint_rows(rounds, "cuda")
    pair = joint_pair("cuda")
    mine, other = cuda_mebibytes(pair.work), cuda_mebibytes(pair.peer)
    yield Row(pair.name, pair.peer_name, mine, other, "MiB", mine / other, 0.1, False)


def elsewhere(python: Path, group: str, rounds: int, environment: dict[str, str]) -> list[Row]:
    """The rows of a group that another process measures, or none where its interpreter is missing."""
    if not python.exists():
        print(f"left out: {group}, since {python} is missing (tools/install_k2.sh makes it)", file=sys.stderr)
        return []
    command = [str(python), __file__, "--rows-of", group, "--rounds", str(rounds)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [Row(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]


# Large tensors then come from memory that the process has had before. Otherwise each first write waits for the kernel
# (and on a virtual machine for its host), which hides what is measured. The same holds for every peer.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36), "MALLOC_ARENA_MAX": "1"}


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--k2-python", type=Path, default=ROOT / ".venv-k2/bin/python")
    parser.add_argument("--only", default="", help="rows of one group: exact, k2, dual, joint, memory, cuda")
    parser.add_argument("--rows-of", choices=["k2", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="update tools/bench/README.md")
    options = parser.parse_args()
    if options.rows_of:
        measured = k2_rows(options.rounds) if options.rows_of == "k2" else memory_rows()
        print(json.dumps([asdict(row) for row in measured]))
        return 0
    plain = {name: value for name, value in os.environ.items() if name not in KEEP_MEMORY}
    if os.environ.keys().isdisjoint(KEEP_MEMORY):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    description = machine()
    groups: dict[str, Callable[[], list[Row]]] = {
        "exact": lambda: list(exact_rows(options.rounds)),
        "k2": lambda: elsewhere(options.k2_python, "k2", options.rounds, dict(os.environ)),
        "dual": lambda: list(dual_rows(options.rounds)),
        "joint": lambda: list(joint_rows(options.rounds)),
        "memory": lambda: elsewhere(Path(sys.executable), "memory", options.rounds, plain),
    }
    if torch.cuda.is_available():
        groups["cuda"] = lambda: list(cuda_rows(options.rounds))
    rows: list[Row] = []
    for name, group in groups.items():
        if options.only in ("", name):
            found = group()
            print(table(found), flush=True)
            rows += found
    text = f"{description} Medians of {options.rounds} rounds, in turns.\n\n{table(rows)}"
    print(f"\n{text}")
    if options.write:
        write(text, "transducer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
