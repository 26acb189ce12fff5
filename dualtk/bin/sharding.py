"""Shards written, mixed or taken from a URL, by the options of `dualtk shard`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dualtk.bin.options import OFTEN, SELDOM
from dualtk.data.bad import said
from dualtk.data.remote import is_url
from dualtk.data.shard_sets import hours_of, mix, take_tables
from dualtk.data.shards import write_shards
from dualtk.data.storage import Source
from dualtk.errors import InputError
from dualtk.locks import NAME, locked


def _weight(directory: Path, amount: str) -> float:
    """How often an epoch reads a directory."""
    if not amount.endswith("h"):
        return float(amount)
    hours = hours_of(directory)
    weight = float(amount.removesuffix("h")) / max(hours, 1e-9)
    if not SELDOM <= weight <= OFTEN:
        said = f"of {hours:.3g} h {amount} are no {SELDOM:g} to {OFTEN:g} times"
        raise InputError(f"--mix {directory}={amount}: {said}")
    return weight


def run_sharding(options: argparse.Namespace) -> int:
    """Do what the options ask for; returns the exit status."""
    out: Path = options.out
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
