"""Put together, cut and copy Kaldi data directories, with audio, with features or with both.

What is read is never changed: every command writes a directory of its own, whole or not at all, and files are named
there by absolute paths.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_text_options, at_least, normalisation
from dualtk.data.directories import FOLDER, DataDirectory, combine, durations, read_directory, summary
from dualtk.data.dividing import draw_hours, split_speakers
from dualtk.data.statistics import sum_up
from dualtk.data.transcripts import warn_of_digits
from dualtk.errors import InputError
from dualtk.files import require_replaceable
from dualtk.tables import read_lines


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
    commands = options.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, what: Callable[[argparse.Namespace], None], text: str, several: bool = False
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(what=what)
        one.add_argument("directories", type=Path, nargs="+" if several else 1, metavar="DIR", help="a data directory")
        one.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result is written")
        return one

    add("combine", _combine, "All utterances of several directories in one.", several=True)
    copy = add("copy", _copy, "The same elsewhere, with transcripts made alike.")
    add_text_options(copy)
    subset = add("subset", _subset, "Some of the utterances.")
    which = subset.add_mutually_exclusive_group(required=True)
    which.add_argument("--hours", type=_hours, metavar="H", help="drawn at random, as many as fit into so many hours")
    which.add_argument("--list", type=Path, metavar="FILE", help="those that a file names first in its lines")
    which.add_argument("--speakers", type=Path, metavar="FILE", help="those of the speakers that a file names")
    which.add_argument("--every", type=at_least(1), metavar="N", help="the first of each N")
    split = add("split", _split, "Parts, each a directory in --out, in which no speaker is in two.")
    split.add_argument("--parts", type=_shares, required=True, metavar="NAME=SHARE,...", help="train=80,dev=10,test=10")
    for one in (subset, split):
        one.add_argument("--seed", type=at_least(0), default=1, metavar="N", help="of what is drawn; default: 1")
    add("cmvn", _cmvn, "Frames of each utterance, mean and variance, for features that were made elsewhere.")
    return options


def _write(out: Path, one: DataDirectory) -> None:
    one.write(out)
    print(summary(out, one))


def _combine(options: argparse.Namespace) -> None:
    _write(options.out, combine([read_directory(directory) for directory in options.directories]))


def _copy(options: argparse.Namespace) -> None:
    (directory,), normalise = options.directories, normalisation(options)
    one = read_directory(directory)
    if "text" not in one.tables:
        return _write(options.out, one)
    texts = {name: normalise(text) for name, text in one.tables["text"].items()}
    copied = replace(one, tables={**one.tables, "text": texts}).without_words()
    _write(options.out, copied)
    for line in warn_of_digits(options.out / "text", copied.tables["text"]):
        print(line, file=sys.stderr)


def _subset(options: argparse.Namespace) -> None:
    one = read_directory(options.directories[0])
    if options.hours is not None:
        names = draw_hours(durations(one), options.hours, options.seed)
    elif options.every is not None:
        names = list(one.speakers)[:: options.every]
    elif options.list is not None:
        names = _named(options.list)
    else:
        wanted = set(_named(options.speakers))
        if unknown := sorted(wanted - set(one.speakers.values())):
            raise InputError(f"{options.speakers}: {one.source} has no speaker {unknown[0]}")
        names = [name for name, speaker in one.speakers.items() if speaker in wanted]
    _write(options.out, one.select(names))


def _named(path: Path) -> list[str]:
    """The first word of each line."""
    return [line.split()[0] for line in read_lines(path) if line.strip()]


def _split(options: argparse.Namespace) -> None:
    one = read_directory(options.directories[0])
    parts = split_speakers(durations(one), one.speakers, options.parts, options.seed)
    for name in parts:
        require_replaceable(options.out / name, FOLDER)
    for name, names in parts.items():
        _write(options.out / name, one.select(names))


def _cmvn(options: argparse.Namespace) -> None:
    (directory,) = options.directories
    require_replaceable(options.out, FOLDER)
    one = read_directory(directory)
    if "feats.scp" not in one.tables:
        raise InputError(f"{directory}: has no feats.scp (dualtk features makes features of audio)")
    found = sum_up(directory / "feats.scp", one.tables["feats.scp"])
    frames = {name: str(count) for name, count in found.frames.items()}
    replace(one, tables={**one.tables, "utt2num_frames": frames}).write(options.out, found.stats)
    print(summary(options.out, one))
    scale = "of 16-bit samples, as Kaldi has them" if found.is_of_16_bit_samples else "of samples in [-1, 1]"
    count, dim = int(found.stats[0, -1]), found.stats.shape[1] - 1
    print(f"{count} frames of {dim} dimensions, mean {found.mean:.2f}: if they are log-mel energies, {scale}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on data directories; returns the exit status."""
    options = parser().parse_args(argv)
    options.what(options)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
