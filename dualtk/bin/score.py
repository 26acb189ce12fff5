"""Stage 5: word and character error rates, and emission latency, of a decoded set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.score import bootstrap


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk score`."""
    options = argparse.ArgumentParser(prog="dualtk score", description=__doc__)
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with text and utt2spk")
    options.add_argument("--decode", type=Path, required=True, metavar="DIR", help="folder that `dualtk decode` wrote")
    options.add_argument(
        "--ctm", type=Path, metavar="FILE", help="word times; default: words.ctm of the data directory, if it has one"
    )
    options.add_argument(
        "--replicates",
        type=at_least(1),
        default=bootstrap.REPLICATES,
        metavar="N",
        help="bootstrap resamples; default: 1000",
    )
    options.add_argument(
        "--seed",
        type=at_least(0),
        default=bootstrap.SEED,
        metavar="N",
        help="of the bootstrap over error rates; default: 0",
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Score; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.scoring import run_scoring  # with it comes torch, for which --help does not wait

    return run_scoring(options)


if __name__ == "__main__":
    sys.exit(run(main))
