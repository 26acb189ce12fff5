"""What the commands of `dualtk data` do: directories are read, changed and written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dualtk.bin.options import normalisation
from dualtk.data.directories import FOLDER, DataDirectory, combine, durations, read_directory, summary
from dualtk.data.dividing import draw_hours, split_speakers
from dualtk.data.statistics import sum_up
from dualtk.data.transcripts import warn_of_digits
from dualtk.errors import InputError
from dualtk.files import require_replaceable
from dualtk.tables import read_lines


def _write(out: Path, one: DataDirectory) -> None:
    one.write(out)
    print(summary(out, one))


def combine_directories(options: argparse.Namespace) -> None:
    """See `dualtk data combine --help`."""
    _write(options.out, combine([read_directory(directory) for directory in options.directories]))


def copy_directory(options: argparse.Namespace) -> None:
    """See `dualtk data copy --help`."""
    (directory,), normalise = options.directories, normalisation(options)
    one = read_directory(directory)
    if "text" not in one.tables:
        return _write(options.out, one)
    texts = {name: normalise(text) for name, text in one.tables["text"].items()}
    copied = replace(one, tables={**one.tables, "text": texts}).without_words()
    _write(options.out, copied)
    for line in warn_of_digits(options.out / "text", copied.tables["text"]):
        print(line, file=sys.stderr)


def subset_directory(options: argparse.Namespace) -> None:
    """See `dualtk data subset --help`."""
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


def split_directory(options: argparse.Namespace) -> None:
    """See `dualtk data split --help`."""
    one = read_directory(options.directories[0])
    parts = split_speakers(durations(one), one.speakers, options.parts, options.seed)
    for name in parts:
        require_replaceable(options.out / name, FOLDER)
    for name, names in parts.items():
        _write(options.out / name, one.select(names))


def add_statistics(options: argparse.Namespace) -> None:
    """See `dualtk data cmvn --help`."""
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


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "combine": combine_directories,
    "copy": copy_directory,
    "subset": subset_directory,
    "split": split_directory,
    "cmvn": add_statistics,
}
