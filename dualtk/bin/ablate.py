"""Train, decode and score a suite of related systems with several seeds, and lay them side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk ablate`."""
    options = argparse.ArgumentParser(prog="dualtk ablate", description=__doc__)
    options.add_argument(
        "suite", type=Path, metavar="SUITE.yaml", help="systems, seeds and modes (egs/methods/suites/*.yaml)"
    )
    options.add_argument(
        "--size", type=Path, metavar="YAML", help="size and budget that methods are based on (egs/*/asr1/conf/*.yaml)"
    )
    options.add_argument("--budget", metavar="NAME", help="what the suite changes in the size, by its name there")
    options.add_argument("--runs", type=Path, required=True, metavar="DIR", help="all runs and the table; continued")
    for name, text in (("train-dir", "with feats.scp and cmvn.ark"), ("dev-dir", "that chooses checkpoints")):
        options.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=f"data directory {text}")
    options.add_argument(
        "--test-dirs", type=Path, required=True, nargs="+", metavar="DIR", help="data directories to decode"
    )
    options.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder of tokens of stage 2")
    options.add_argument(
        "--seeds",
        type=at_least(0),
        nargs="+",
        metavar="N",
        help="instead of those of the suite or its budget; the first run is the first N",
    )
    options.add_argument(
        "--systems",
        nargs="+",
        metavar="NAME",
        help="these of the suite only, in this order; the others are compared with the first",
    )
    options.add_argument(
        "--beam",
        type=at_least(1),
        metavar="K",
        help="hypotheses to keep, instead of those of the suite or its budget; 1: greedy search",
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all systems")
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's choice"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.ablating import run_ablation  # with it comes torch, for which --help does not wait

    return run_ablation(options)


if __name__ == "__main__":
    sys.exit(run(main))
