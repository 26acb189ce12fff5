"""One table of all scored sets of experiments, both modes side by side: on stdout and in each EXP/RESULTS.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.errors import InputError
from dualtk.files import write_text


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk results`."""
    options = argparse.ArgumentParser(prog="dualtk results", description=__doc__)
    options.add_argument("experiments", type=Path, nargs="+", metavar="EXP", help="experiment folder with decode/*")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; see `parser` for the options."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.score.summary import read_scores
    from dualtk.score.table import results_table

    for experiment in options.experiments:
        if not experiment.is_dir():
            raise InputError(f"{experiment}: no such experiment folder")
    scores = {experiment.resolve().name: read_scores(experiment) for experiment in options.experiments}
    for experiment in options.experiments:
        name = experiment.resolve().name
        write_text(experiment / "RESULTS.md", f"# {name}\n\n{results_table({name: scores[name]})}")
    print(results_table(scores), end="")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
