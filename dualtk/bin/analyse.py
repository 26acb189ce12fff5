"""The figures of the papers for trained networks, with their data as TSV; the report shows them.

A system is an experiment in one of its modes. Figures that set two against each other take the first as their base.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.figures import CHOICES, Experiment
from dualtk.bin.options import at_least


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk analyse`."""
    options = argparse.ArgumentParser(prog="dualtk analyse", description=__doc__)
    options.add_argument(
        "experiments",
        type=Experiment.parse,
        nargs="+",
        metavar="EXP[:MODE]",
        help="trained experiment folders, each in a mode of its own where one is named, as exp/tt_full:full",
    )
    options.add_argument(
        "--what",
        nargs="+",
        choices=CHOICES,
        metavar="FIGURE",
        help=f"{', '.join(CHOICES)}; default: all but training, and t-SNE where scikit-learn is installed",
    )
    options.add_argument("--data", type=Path, metavar="DIR", help="data directory with feats.scp, for all but training")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: lang of the first EXP")
    options.add_argument(
        "--mode",
        action="append",
        metavar="NAME",
        help="a mode of every EXP that names none; may be repeated; default: all modes of one EXP; of several the only "
        "mode that they have, or streaming",
    )
    options.add_argument(
        "--utterance", metavar="ID", help="utterance of the single-utterance figures; default: the first"
    )
    options.add_argument(
        "--num",
        type=at_least(1),
        default=20,
        metavar="N",
        help="utterances for densities, distances, tables; default: 20",
    )
    options.add_argument("--layer", type=at_least(1), metavar="N", help="encoder layer from 1; default: the middle one")
    options.add_argument(
        "--term", default="encoder_logits", metavar="NAME", help="of teacher-error; default: encoder_logits"
    )
    options.add_argument("--out", type=Path, metavar="DIR", help="default: analysis/ of the first EXP")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the figures; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.analysing import run_analysis  # with it comes torch, for which --help does not wait

    return run_analysis(options)


if __name__ == "__main__":
    sys.exit(run(main))
