"""What the exact and the pruned loss cost at the papers' size: of one pass, with joiner, forward and backward.

    python tools/bench/exact_or_pruned.py [--device cuda] [--batch 4] [--frames 375] [--labels 50] [--rounds 3]

Frames are those of the encoder, 40 ms each, and random; the predictor, the joiner and the losses are those of
conf/paper.yaml and conf/paper_fast.yaml. On the CPU seconds are of processor time, so that other work does not count.

Axes: B batch, T frames, U labels, D width.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from dualtk.encoders.base import EncoderOutput  # noqa: E402
from dualtk.system import TransducerSystem, load  # noqa: E402
from dualtk.transducer.model import Pass  # noqa: E402

METHOD = ROOT / "egs/methods/dual_no_distillation.yaml"
SIZES = {"exact": "paper", "pruned": "paper_fast"}


def measure(options: argparse.Namespace, size: str) -> tuple[float, float]:
    """Median seconds of a pass's loss and its gradient, and MiB beyond what stood there before (0 on the CPU)."""
    system = load(METHOD, ROOT / f"egs/librispeech/asr1/conf/{size}.yaml")
    assert isinstance(system, TransducerSystem)
    torch.manual_seed(1)
    network = system.build_network(system.tokens.size, *torch.zeros(2, system.features.dim)).to(options.device)
    criterion = system.loss.build(network).to(options.device)
    lengths = torch.full((options.batch,), options.frames, device=options.device)
    targets = torch.randint(1, system.tokens.size, (options.batch, options.labels), device=options.device)
    frames = torch.randn(options.batch, options.frames, network.encoder.output_dim, device=options.device)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    seconds, most = [], 0.0
    for _ in range(options.rounds + 1):  # the first one compiles
        frames = frames.detach().requires_grad_()
        on_gpu = options.device != "cpu"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        start = clock()
        run = Pass(EncoderOutput(frames, lengths, [], []), network.predict(targets), network.joiner)
        criterion([run], targets, torch.full_like(lengths, options.labels), 10**6)[0].loss.mean().backward()
        if on_gpu:
            torch.cuda.synchronize()
            most = (torch.cuda.max_memory_allocated() - before) / 2**20
        seconds.append(clock() - start)
    return statistics.median(seconds[1:]), most


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    for name, default in (("batch", 4), ("frames", 375), ("labels", 50), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default: {default}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"B = {options.batch}, T = {options.frames}, U = {options.labels}, {options.device}")
    print("| loss | seconds | MiB |\n| --- | --- | --- |")
    for loss, size in SIZES.items():
        seconds, memory = measure(options, size)
        print(f"| {loss} | {seconds:.2f} | {memory or '-'} |")


if __name__ == "__main__":
    main()
