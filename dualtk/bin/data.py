"""Put together, cut and copy Kaldi data directories, with audio, with features or with both.

What is read is never changed: every command writes a directory of its own, whole or not at all, and files are named
there by absolute paths.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_text_options, at_least


def _shares(text: str) -> dict[str, float]:
    """The `type` of --parts: `train=80,dev=10,test=10`."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            shares[name.strip()] = math.nan
    if len(shares) != text.count(",") + 1 or not all(
        name and Path(name).name == name and 0 < share < math.inf for name, share in shares.items()
    ):
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=SHARE,NAME=SHARE, such as train=80,dev=10,test=10")
    return shares


def _hours(text: str) -> float:
    """The `type` of --hours."""
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0.0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of hours")
    return hours


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk data`."""
    options = argparse.ArgumentParser(prog="dualtk data", description=__doc__)
    commands = options.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, several: bool = False) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("directories", type=Path, nargs="+" if several else 1, metavar="DIR", help="a data directory")
        one.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result is written")
        return one

    add("combine", "All utterances of several directories in one.", several=True)
    copy = add("copy", "The same elsewhere, with transcripts made alike.")
    add_text_options(copy)
    subset = add("subset", "Some of the utterances.")
    which = subset.add_mutually_exclusive_group(required=True)
    which.add_argument("--hours", type=_hours, metavar="H", help="drawn at random, as many as fit into so many hours")
    which.add_argument("--list", type=Path, metavar="FILE", help="those that a file names first in its lines")
    which.add_argument("--speakers", type=Path, metavar="FILE", help="those of the speakers that a file names")
    which.add_argument("--every", type=at_least(1), metavar="N", help="the first of each N")
    split = add("split", "Parts, each a directory in --out, in which no speaker is in two.")
    split.add_argument("--parts", type=_shares, required=True, metavar="NAME=SHARE,...", help="train=80,dev=10,test=10")
    for one in (subset, split):
        one.add_argument("--seed", type=at_least(0), default=1, metavar="N", help="of what is drawn; default: 1")
    add("cmvn", "Frames of each utterance, mean and variance, for features that were made elsewhere.")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on data directories; returns the exit status."""
    options = parser().parse_args(argv)
    from dualtk.bin.directories import COMMANDS  # with it comes torch, for which --help does not wait

    COMMANDS[options.command](options)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
