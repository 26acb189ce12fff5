"""What every benchmark of this folder needs: works measured in turns, peak memory, and a table in README.md."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

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


def compare(
    work: str, ours: Work, peer: str, theirs: Work, rounds: int, target: float, at_least: bool = True, note: str = ""
) -> Row:
    """A row of times; the ratio is peer / ours where more is better, ours / peer where less is better."""
    seconds = in_turns({"ours": ours, "peer": theirs}, rounds)
    pairs = list(zip(seconds["ours"], seconds["peer"]))
    ratio = statistics.median(b / a if at_least else a / b for a, b in pairs)
    mine, other = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    return Row(work, peer, 1e3 * mine, 1e3 * other, "ms", ratio, target, at_least, note)


def peak_mebibytes(work: Work) -> float:
    """How far resident memory rises above its level before the work (Linux)."""
    work()  # what stays, such as libraries and thread stacks, is not counted; what malloc keeps for later is
    status = Path("/proc/self/status")

    def read(key: str) -> float:
        return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(key))

    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    work()
    return max(read("VmHWM") - before, 0.1)


def cuda_mebibytes(work: Work) -> float:
    """Peak of torch's allocator above its level before the work."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


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
    reasons = []
    for row in rows:
        sign, kind = (">=", "faster by") if row.at_least else ("<=", "ours / peer's")
        cells = [row.work, row.peer, f"{row.ours:.1f} {row.unit}", f"{row.theirs:.1f} {row.unit}"]
        cells += [f"{kind} {row.ratio:.2f}", f"{sign} {row.target:g}", "met" if row.met else "**missed**"]
        lines.append("| " + " | ".join(cells) + " |")
        if row.note and not row.met:
            reasons.append(f"- Missed, {row.work}: {row.note}")
    return "\n".join([*lines, "", *reasons] if reasons else lines)


def write(text: str, section: str) -> None:
    """Put the text between the markers of a section of README.md, which keeps whatever else is there."""
    readme = Path(__file__).resolve().parent / "README.md"
    begin, end = f"<!-- {section}:begin -->", f"<!-- {section}:end -->"
    old = readme.read_text(encoding="utf-8") if readme.exists() else f"# Benchmarks\n\n{begin}\n{end}\n"
    if begin not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = old.split(begin, 1)
    after = rest.split(end, 1)[1]
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
