"""Find the weights of language models, and rewards, that give the fewest word errors on a development set.

The encoder runs once for all points of the grid. Best are the fewest errors in all modes together, and of equals the
smallest weights. What is written are options of `dualtk decode`, one a line, as `run.sh --decode-conf` reads them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import BEAM, GRID, KINDS, add_search_option


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk tune`."""
    options = argparse.ArgumentParser(prog="dualtk tune", description=__doc__)
    options.add_argument("exp", type=Path, metavar="EXP", help="experiment or model folder")
    options.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="development set: a data directory with feats.scp, text"
    )
    options.add_argument("--modes", nargs="+", metavar="NAME", help="modes to tune for; default: all of the experiment")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument("--out", type=Path, metavar="FILE", help="default: EXP/tuned/<data>.conf")
    options.add_argument(
        "--max-frames", type=at_least(1), default=20000, metavar="N", help="feature frames in a batch; default: 20000"
    )
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    for key in KINDS:
        if key == "head":
            continue
        if key not in GRID:
            add_search_option(options, key, default=BEAM if key == "beam" else None)
            continue
        needed, values = GRID[key]
        shown = " ".join(f"{value:g}" for value in values)
        also = "" if needed is None else f", with --{needed.replace('_', '-')}"
        add_search_option(options, key, nargs="+", default=values, shown=f"{shown}{also}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Tune; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.tuning import tune  # with it comes torch, for which --help does not wait

    return tune(options)


if __name__ == "__main__":
    sys.exit(run(main))
