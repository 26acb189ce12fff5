"""Stage 3: train the system that a YAML describes, or continue where a killed run stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_config_options, add_max_bad, add_max_unknown, at_least
from dualtk.train.waiting import PATIENCE, TIMEOUT


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train`."""
    options = argparse.ArgumentParser(prog="dualtk train", description=__doc__)
    add_config_options(options)
    options.add_argument(
        "--exp", type=Path, required=True, metavar="DIR", help="experiment folder; continued if it exists"
    )
    options.add_argument(
        "--train-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="data directory with cmvn.ark and feats.scp, which `features.source: audio` does not need",
    )
    options.add_argument(
        "--dev-dir", type=Path, required=True, metavar="DIR", help="data directory that chooses checkpoints"
    )
    options.add_argument(
        "--tokens", type=Path, metavar="DIR", help="folder of tokens of stage 2; pre-training needs none"
    )
    options.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="where teacher.exp and init.exp are looked for; default: here"
    )
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's own choice"
    )
    options.add_argument(
        "--processes",
        type=at_least(1),
        metavar="N",
        help="processes of each node that share each step, each with a GPU or, on the CPU, a thread; default: 1, or "
        "those that srun started",
    )
    options.add_argument(
        "--num-nodes",
        type=at_least(1),
        metavar="N",
        help="machines that share each step; the same command runs on each; default: 1, or those of srun",
    )
    options.add_argument(
        "--rendezvous",
        metavar="HOST[:PORT]",
        help="where the machines meet, one of them; under srun the first of its nodes is the default",
    )
    options.add_argument(
        "--rendezvous-timeout",
        type=at_least(1),
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long machines wait for each other at the start; default: {PATIENCE}",
    )
    options.add_argument(
        "--timeout",
        type=at_least(1),
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"how long a process waits for the others in a step; default: {TIMEOUT}",
    )
    add_max_unknown(options)
    add_max_bad(options)
    options.add_argument(
        "--override", action="store_true", help="continue although configuration or data changed (default: refuse)"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.training import run_training  # with it comes torch, for which --help does not wait

    return run_training(options, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.argv[0] = "dualtk train"  # what the experiment records
    sys.exit(run(main))
