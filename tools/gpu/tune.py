"""Which shapes the Triton kernels should have here: each by itself, in microseconds and shares of the copy bandwidth.

    python tools/gpu/tune.py

Medians of `triton.testing.do_bench`. Copy bandwidth counts bytes read and written.

Axes: B batch, T frames, U labels, V vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from unittest import mock

import torch
import triton

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE.parent), str(HERE / "bench")]

from works import Batch, Pruned, random_lattice  # noqa: E402

from dualtk.lattice import joint_lattice, rnnt_loss  # noqa: E402
from dualtk.lattice.backends import triton_kernels, triton_logits, triton_rows  # noqa: E402
from dualtk.lattice.next_labels import NextLabels  # noqa: E402


def micro(work: Callable[[], object]) -> float:
    """Median microseconds."""
    return 1e3 * triton.testing.do_bench(work, warmup=20, rep=60, return_mode="median")


def copy_bandwidth() -> float:
    """Bytes a microsecond, of a copy of 1 GiB."""
    source = torch.randn(1 << 28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / micro(lambda: target.copy_(source))


def rows(bandwidth: float) -> None:
    """The two passes over logits, for each size, block and number of warps."""
    for size, dtype in product(((8, 250, 40, 500), (4, 400, 60, 1024), (4, 250, 40, 4097)), ("float32", "bfloat16")):
        batch = Batch(size, device="cuda")
        logits = batch.logits().detach().to(getattr(torch, dtype))
        labels = NextLabels(batch.targets, *batch.lengths, None)
        of_rows, out = triton_logits.rows_of(logits, labels), torch.empty_like(logits)
        scores = of_rows.scores(0)
        given = (0, scores.normaliser, torch.ones_like(scores.blank), torch.ones_like(scores.label), out)
        chosen, widest = triton_rows.shape(size[3]), triton.next_power_of_2(size[3])
        for block, warps in product(sorted({min(block, widest) for block in (512, 1024, 2048, 8192)}), (1, 2, 4, 8)):
            if not 32 * warps <= block <= 64 * 32 * warps:
                continue
            shape = {**chosen, "BLOCK": block, "num_warps": warps}
            with mock.patch.object(triton_rows, "shape", return_value=shape):
                reading = micro(partial(of_rows.scores, 0))
                writing = micro(partial(of_rows.gradient, *given))
            mark = "  <- chosen" if shape == chosen else ""
            print(
                f"logits {size} {dtype} block {block} warps {warps}: "
                f"read {reading:.0f} us {logits.nbytes / reading / bandwidth:.2f}, "
                f"write {writing:.0f} us {2 * logits.nbytes / writing / bandwidth:.2f}{mark}",
                flush=True,
            )


def walks() -> None:
    """The recursion for each number of warps, and what comes after it."""
    for size in ((8, 250, 40, 500), (16, 400, 60, 500), (16, 800, 120, 500), (16, 800, 250, 500)):
        lattice = random_lattice(Batch(size, device="cuda"))
        cells = lattice.cells()
        alpha, beta = (torch.empty(cells.blank.shape, dtype=torch.float64, device="cuda") for _ in range(2))
        num, frames, width = cells.blank.shape
        padded = max(triton_kernels.LANES, triton.next_power_of_2(width))
        given = (cells.blank, cells.label, cells.logit_lengths, cells.logit_lengths, cells.target_lengths, alpha, beta)
        kind = {"WIDTH": padded, "PRUNED": False, "PRECISE": False}
        for warps in (1, 2, 4, 8):
            if warps * 32 <= padded:
                launch = partial(triton_kernels.walk[(num, 2)], *given, frames, width, num_warps=warps, **kind)
                print(f"walk {size[:3]} warps {warps}: {micro(launch):.0f} us", flush=True)
        print(f"recursion {size[:3]}: {micro(partial(triton_kernels.recursion, cells)):.0f} us", flush=True)


def profile() -> None:
    """Where the time of each loss goes, kernels and host."""
    batch = Batch((8, 250, 40, 500), device="cuda")
    logits = batch.logits()
    pruned = Pruned.random(Batch((16, 400, 60, 500), device="cuda"))
    wide = Batch((8, 400, 60, 4097), width=640, device="cuda")
    sides = wide.joint()
    tensors = (*sides, wide.weight, wide.bias)
    works = {
        "exact": lambda: torch.autograd.grad(rnnt_loss(logits, batch.targets, *batch.lengths), logits),
        "pruned": pruned.dualtk("triton"),
        "joint": lambda: torch.autograd.grad(joint_lattice(*tensors, wide.targets, *wide.lengths).loss(), tensors),
    }
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    for name, work in works.items():
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=activities) as found:
            for _ in range(5):
                work()
            torch.cuda.synchronize()
        print(f"== {name}: {micro(work):.0f} us")
        averages = found.key_averages()
        print(averages.table(sort_by="self_cuda_time_total", row_limit=12, max_name_column_width=50), flush=True)


def main() -> int:
    """Print everything."""
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}: a copy moves {bandwidth / 1e6:.2f} TB/s")
    walks()
    rows(bandwidth)
    profile()
    return 0


if __name__ == "__main__":
    sys.exit(main())
