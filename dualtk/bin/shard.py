"""Write a training set as sequential shards: tar files in the layout of webdataset, and a data directory of them.

DATA is a folder that `dualtk features` wrote; its features are put into the shards, or its audio, and its transcripts.
Or it is a URL where such shards lie: then the tables alone are fetched, and the shards while they are read. Several
folders of shards are mixed by --mix.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import OFTEN, SELDOM, add_max_bad, at_least


def _positive(text: str) -> float:
    """The `type` of numbers above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return number


def _part(text: str) -> tuple[Path, str]:
    """The `type` of --mix: `DIR`, `DIR=2.5` or `DIR=100h`."""
    place, equals, amount = text.rpartition("=")
    if not equals:
        return Path(text), "1"
    number = _positive(amount.removesuffix("h"))
    if not amount.endswith("h") and not SELDOM <= number <= OFTEN:
        raise argparse.ArgumentTypeError(f"{text}: expected {SELDOM:g} to {OFTEN:g} times, or hours as 100h")
    return Path(place), amount


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk shard`."""
    options = argparse.ArgumentParser(prog="dualtk shard", description=__doc__)
    add = options.add_argument
    add("data", nargs="?", metavar="DATA", help="a folder of `dualtk features`, or a URL that fsspec opens")
    add("out", type=Path, metavar="OUT", help="the data directory to write, for --train-dir of `dualtk train`")
    add(
        "--mix",
        type=_part,
        action="append",
        metavar="DIR[=W|=Hh]",
        help="instead of DATA: a folder of shards, with how often an epoch reads it, or how many hours of it; default: "
        "once; repeated for each folder",
    )
    add(
        "--content",
        choices=["features", "audio"],
        help="what goes into the shards; default: features where DATA has feats.scp, else audio",
    )
    add("--hours", type=_positive, default=1.0, metavar="H", help="of speech in a shard, about; default: 1")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of the order of utterances; default: 0")
    add("--nj", type=at_least(1), default=1, metavar="N", help="processes; default: 1")
    add("--cache", type=Path, metavar="DIR", help="of a URL: where shards are kept while read; default: OUT/cache")
    add("--cache-gb", type=_positive, metavar="GB", help="of a URL: what is kept there at most; default: 100")
    add_max_bad(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Write shards, or the tables of shards; see `parser` for the options."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if (options.data is None) == (options.mix is None):
        arguments.error("name DATA, or --mix DIR ...")
    from dualtk.bin.sharding import run_sharding  # with it comes torch, for which --help does not wait

    return run_sharding(options)


if __name__ == "__main__":
    sys.exit(run(main))
