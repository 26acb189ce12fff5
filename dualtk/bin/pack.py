"""Write a trained network as a folder to hand on: weights, configuration, tokens, feature options and a model card.

`dualtk transcribe`, `dualtk decode` and `dualtk.load` read it like an experiment, and refuse a file that was altered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk pack`."""
    options = argparse.ArgumentParser(prog="dualtk pack", description=__doc__)
    options.add_argument("exp", type=Path, metavar="EXP", help="experiment folder of stage 3")
    options.add_argument("out", type=Path, metavar="OUT", help="model folder to write")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument("--modes", nargs="+", metavar="NAME", help="modes to keep; default: all")
    options.add_argument(
        "--precision",
        choices=["float32", "int8"],
        default="float32",
        help="of the encoder's linear weights in the file; default: float32",
    )
    options.add_argument("--language", default="en", metavar="CODE", help="for the model card; default: en")
    options.add_argument("--license", default="other", metavar="ID", help="for the model card; default: other")
    options.add_argument(
        "--data", default="data that its maker did not name", metavar="TEXT", help="training data, for the model card"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Pack; see `parser` for the options."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.data.kinds import read_options
    from dualtk.package import Card, write_package
    from dualtk.score.summary import SCORE_FILE, read_scores
    from dualtk.trained import load

    if options.out.exists():
        raise InputError(f"{options.out}: exists already")
    trained = load(options.exp, options.tokens)
    read_options(options.exp)  # without them audio cannot be made into its features elsewhere
    is_scored = any((options.exp / "decode").glob(f"*/{SCORE_FILE}"))
    scores = read_scores(options.exp) if is_scored else []
    card = Card(options.language, options.license, options.data, scores)
    write_package(options.out, trained, options.modes or list(trained.system.modes), options.precision, card)
    for path in sorted(path for path in options.out.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
