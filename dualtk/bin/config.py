"""Configurations: what a YAML comes to and where each value comes from, every key there is, and names for scripts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_size_options


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk config`."""
    options = argparse.ArgumentParser(prog="dualtk config", description=__doc__)
    commands = options.add_subparsers(dest="command", required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="every value of a YAML, and the file, block or option that says it")
    name = commands.add_parser("name", help="`TASK FEATURES TOKENS WORKERS MODE ...` for scripts; - stands for none")
    name.add_argument(
        "--directories",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="also the names of the folders of their features, a line each; the first is that of the training set",
    )
    for command in (show, name):
        command.add_argument("config", type=Path, metavar="YAML", help="the system (egs/methods/*.yaml)")
        add_size_options(command)
    commands.add_parser("reference", help="every key: type, default, range, unit and meaning, as Markdown")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is asked for; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.configuring import run_config  # with it comes torch, for which --help does not wait

    return run_config(options)


if __name__ == "__main__":
    sys.exit(run(main))
