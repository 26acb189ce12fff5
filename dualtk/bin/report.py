"""An HTML report of experiments: one file that opens from disk, with figures, worst utterances and their audio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk report`."""
    options = argparse.ArgumentParser(prog="dualtk report", description=__doc__)
    options.add_argument("experiments", type=Path, nargs="+", metavar="EXP", help="experiment folder with scored sets")
    options.add_argument("--out", type=Path, metavar="FILE", help="default: report.html of the first EXP")
    options.add_argument(
        "--data",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="data directories whose audio may go into the page, for the worst utterances; default: none",
    )
    options.add_argument(
        "--worst",
        type=at_least(0),
        default=10,
        metavar="N",
        help="worst utterances of each set; default: 10",
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.reporting import run_report  # with it comes torch, for which --help does not wait

    return run_report(options)


if __name__ == "__main__":
    sys.exit(run(main))
