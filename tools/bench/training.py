"""What a joint step costs beside two single-mode steps, and what each distillation term adds.

    python tools/bench/training.py [--rounds 7] [--size egs/synthetic/asr1/conf/cpu.yaml] [--write]

A step is normalisation, SpecAugment, forward, backward, clipping and Adam on one batch of random features that is the
same for all. Steps are timed in turns; numbers are medians over the rounds, ratios medians of each round's ratio.
Without a GPU, time is that of the CPU. Memory is what a step adds at its peak to what was resident before it.
`--write` puts the table into tools/bench/README.md.

Axes: B batch, T frames, F features, U labels.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dualtk.system import PretrainingSystem, System, load
from dualtk.trainable import Trainable

HERE = Path(__file__).resolve().parent
EGS = HERE.parents[1] / "egs"
BEGIN, END = "<!-- training:begin -->", "<!-- training:end -->"
BETWEEN_MODES = "student: streaming, teacher: full"
THREE_WAY = f"three_way: {{{BETWEEN_MODES}}}"
TERMS = {
    "in-place 3-way KL": THREE_WAY,
    "symmetric 3-way KL": f"three_way: {{{BETWEEN_MODES}, symmetric: true}}",
    "full-vocabulary KL": f"full_kl: {{{BETWEEN_MODES}}}",
    "hidden vectors": f"hidden: {{{BETWEEN_MODES}}}",
    "heads": f"heads: {{{BETWEEN_MODES}}}",
}
SHARED = """A joint step computes once: features, augmentation, the predictor with its half of the joiner, clipping and
the optimiser's update. Encoders, joiners and losses run twice."""
PRETRAINING = "| pre-training, both modes | time of a step | for a second of speech | peak memory |"
CODERT_TERM = "encoder_logits: {student: streaming, teacher: teacher}"

Step = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """The batch, and how often it is measured."""

    batch: int
    frames: int
    labels: int
    vocabulary: int
    rounds: int
    device: torch.device


def method(name: str, size: Path, *overrides: str) -> System:
    """A method of egs/methods, whose passes all run in each step."""
    return load(EGS / f"methods/{name}.yaml", size, ["sampled_steps=0", *overrides])


def make_step(system: System, setting: Setting) -> Step:
    """One training step of `system`, on the batch of `setting`."""
    torch.manual_seed(0)
    num_mels = system.features.dim
    mean, istd = torch.zeros(num_mels), torch.ones(num_mels)
    objective: Trainable
    if isinstance(system, PretrainingSystem):
        objective = system.build_objective(system.build_network(mean, istd))
    else:
        objective = system.build_objective(system.build_network(setting.vocabulary, mean, istd))
    module = objective.module.to(setting.device).train()
    optimizer = system.optimizer.build(module.named_parameters())
    feats = torch.randn(setting.batch, setting.frames, num_mels, device=setting.device)
    lengths = torch.linspace(0.8 * setting.frames, setting.frames, setting.batch).long().to(setting.device)
    targets = torch.randint(1, setting.vocabulary, (setting.batch, setting.labels), device=setting.device)
    target_lengths = torch.full((setting.batch,), setting.labels, device=setting.device)
    after_warmups = 10**6

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(feats, lengths, targets, target_lengths, after_warmups).total.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        if setting.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def both(first: Step, second: Step) -> Step:
    """Two steps, one after the other."""

    def step() -> None:
        first()
        second()

    return step


def in_turns(steps: dict[str, Step], setting: Setting) -> dict[str, list[float]]:
    """Seconds of each step in each round, after two rounds that are not counted.

    Without a GPU they are seconds of the CPU, all threads together, so that other work on the machine does not count.
    """
    clock = time.perf_counter if setting.device.type == "cuda" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(setting.rounds + 2):
        for name, step in steps.items():
            began = clock()
            step()
            if index >= 2:
                seconds[name].append(clock() - began)
    return seconds


def peak(step: Step, device: torch.device) -> float:
    """MiB that a step adds at its peak to what was there before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - allocated) / 2**20
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def resident(key: str) -> float:
    """MiB of this process, by a key of /proc/self/status."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return float(line.split()[1]) / 1024


def ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(first, second))


def joint_rows(size: Path, setting: Setting) -> list[str]:
    """One joint step with 3-way KL against two single-mode steps of the same network."""
    distilled = method("dual_conformer", size, f"terms={{{THREE_WAY}}}")
    singles = [make_step(method(name, size), setting) for name in ("full_only", "streaming_only")]
    steps = {"joint": make_step(distilled, setting), "single": both(*singles)}
    seconds = in_turns(steps, setting)
    memory = peak(steps["joint"], setting.device)
    others = [peak(step, setting.device) for step in singles]
    milliseconds = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    time_ratio = ratio(seconds["joint"], seconds["single"])
    return [
        f"| joint step with 3-way KL, time | {milliseconds['joint']:.0f} ms | {milliseconds['single']:.0f} ms "
        f"(two steps) | {time_ratio:.2f} | 0.95 |",
        f"| the same, peak memory | {memory:.0f} MiB | {sum(others):.0f} MiB (sum of both) | "
        f"{memory / sum(others):.2f} | 1.00 |",
        f"| the same, peak memory | {memory:.0f} MiB | {max(others):.0f} MiB (larger of both) | "
        f"{memory / max(others):.2f} | - |",
    ]


def term_rows(base: str, size: Path, terms: dict[str, str], setting: Setting) -> list[str]:
    """Extra percent of each term over the same step without any."""
    asked = {"none": "", **terms}
    steps = {name: make_step(method(base, size, f"terms={{{term}}}"), setting) for name, term in asked.items()}
    seconds = in_turns(steps, setting)
    memory = {name: peak(step, setting.device) for name, step in steps.items()}
    return [
        f"| {name} | {100 * (ratio(seconds[name], seconds['none']) - 1):+.1f} % "
        f"| {100 * (memory[name] / memory['none'] - 1):+.1f} % |"
        for name in terms
    ]


def pretraining_rows(size: Path, setting: Setting) -> list[str]:
    """A step of wav2vec 2.0 pre-training in both modes, and what it takes for each second of speech."""
    step = make_step(method("wav2vec_pretrain", size), setting)
    (seconds,) = in_turns({"step": step}, setting).values()
    speech = setting.batch * 0.9 * setting.frames * 0.01  # lengths are spread over 0.8 to 1 of the longest
    median, memory = 1e3 * statistics.median(seconds), peak(step, setting.device)
    return [f"| `wav2vec_pretrain` | {median:.0f} ms | {median / speech:.1f} ms | {memory:.0f} MiB |"]


def write(text: str) -> None:
    """Put the text between the markers of README.md, which keeps whatever else is there."""
    readme = HERE / "README.md"
    old = readme.read_text(encoding="utf-8") if readme.exists() else "# Benchmarks\n"
    if BEGIN not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN, 1)
    readme.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def describe(size: Path, setting: Setting) -> str:
    """What was measured on what."""
    threads = f"a CPU (CPU time of {torch.get_num_threads()} thread(s))"
    place = torch.cuda.get_device_name() if setting.device.type == "cuda" else threads
    return (
        f"## Training\n\n`dual_conformer` at the size {size.stem} on {place}, {platform.machine()}, torch "
        f"{torch.__version__}: batches of {setting.batch} utterances, {setting.frames} feature frames, "
        f"{setting.labels} labels, vocabulary {setting.vocabulary}; float32; {setting.rounds} rounds. "
        "`encoder_logits`: over `codert` "
        "without it.\n\n"
    )


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=Path, default=EGS / "synthetic/asr1/conf/cpu.yaml")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=800)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--vocabulary", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="update tools/bench/README.md")
    options = parser.parse_args()
    setting = Setting(
        options.batch,
        options.frames,
        options.labels,
        options.vocabulary,
        options.rounds,
        torch.device(options.device),
    )
    size = options.size
    lines = ["| | joint | single | ratio | target |", "| --- | --- | --- | --- | --- |", *joint_rows(size, setting)]
    lines += ["", "| term | extra time of the joint step | extra peak memory |", "| --- | --- | --- |"]
    lines += term_rows("dual_conformer", size, TERMS, setting)
    lines += term_rows("codert", size, {"encoder logits (CoDERT)": CODERT_TERM}, setting)
    lines += ["", SHARED, "", PRETRAINING, "| --- | --- | --- | --- |"]
    lines += pretraining_rows(size, setting)
    text = describe(size, setting) + "\n".join(lines) + "\n"
    print(text)
    if options.write:
        write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
