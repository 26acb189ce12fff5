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
from dualtk.bin.options import add_max_bad, at_least
from dualtk.data.bad import said
from dualtk.data.remote import is_url
from dualtk.data.shards import hours_of, mix, take_tables, write_shards
from dualtk.data.storage import Source
from dualtk.errors import InputError
from dualtk.locks import NAME, locked


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
    _positive(amount.removesuffix("h"))
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


def _weight(directory: Path, amount: str) -> float:
    """How often an epoch reads a directory."""
    if not amount.endswith("h"):
        return float(amount)
    return float(amount.removesuffix("h")) / hours_of(directory)


def main(argv: Sequence[str] | None = None) -> int:
    """Write shards, or the tables of shards; returns the exit status."""
    arguments = parser()
    options = arguments.parse_args(argv)
    out: Path = options.out
    if (options.data is None) == (options.mix is None):
        arguments.error("name DATA, or --mix DIR ...")
    with locked(out / NAME, out):
        if options.mix is not None:
            parts = [(directory, _weight(directory, amount)) for directory, amount in options.mix]
            count = mix(parts, out)
            shares = ", ".join(f"{directory} x {weight:.4g}" for directory, weight in parts)
            print(f"{out}: {count} utterances: {shares}")
        elif is_url(options.data):
            print(f"{out}: {take_tables(options.data, out, options.cache, options.cache_gb)} shards at {options.data}")
        else:
            data = Path(options.data)
            if not data.is_dir():
                raise InputError(f"{data}: no such data directory")
            stored = options.content == "features" or (options.content is None and (data / "feats.scp").exists())
            source: Source = "stored" if stored else "audio"
            done = write_shards(
                data,
                out,
                source,
                hours=options.hours,
                seed=options.seed,
                num_jobs=options.nj,
                max_bad=options.max_bad,
                progress=sys.stderr.isatty(),
            )
            for line in said(out, done.bad):
                print(line, file=sys.stderr)
            print(f"{out}: {done}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
