"""Make data directories with features (log-mel, or raw samples) out of Kaldi data directories with audio.

Those are only read. Any sample rate is resampled once. What features are made the section `features` of the
configuration says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_config_options, add_max_bad, at_least
from dualtk.locks import NAME, locked

if TYPE_CHECKING:
    from dualtk.data.features import SetPart


def _part(text: str) -> SetPart:
    """The `type` of --part."""
    from dualtk.data.features import SetPart

    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text}: expected K/N, such as 1/8")
    return SetPart(int(number), int(of))


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk features`."""
    options = argparse.ArgumentParser(prog="dualtk features", description=__doc__)
    add = options.add_argument
    add("directories", type=Path, nargs="*", metavar="DIR", help="a Kaldi data directory with wav.scp")
    add(
        "--train",
        type=Path,
        metavar="DIR",
        help="that of the training set, at the speeds of features.speeds, and with cmvn.ark: mean and variance of all "
        "frames; goes to FOLDER/<name of DIR>, or <name of DIR>_sp where there are other speeds than 1.0, or <name of "
        "DIR>_audio where features.source is audio: then nothing is stored but lengths, mean and variance",
    )
    add("--out", type=Path, required=True, metavar="FOLDER", help="where FOLDER/<name of DIR> is written")
    add_config_options(options, required=False)
    add("--nj", type=at_least(1), default=1, metavar="N", help="processes, one thread each; default: 1")
    add("--expected-rate", type=at_least(1), metavar="HZ", help="refuse audio of another rate; default: resample it")
    add(
        "--channel",
        type=at_least(1),
        metavar="N",
        help="of recordings with several channels, from 1, where segments and reco2file_and_channel say none",
    )
    add(
        "--part",
        type=_part,
        metavar="K/N",
        help="make every N-th shard from the K-th on, and no tables: each task of an array job makes a part, and then "
        "the same command without --part writes the tables",
    )
    add_max_bad(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Extract the features of every directory; returns the exit status."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.train is None and not options.directories:
        arguments.error("name a data directory, or --train DIR")
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.bin.sections import read_section
    from dualtk.data.bad import said
    from dualtk.data.features import extract_set, require_folders, set_folder
    from dualtk.data.kaldi import left_out
    from dualtk.data.kinds import FeaturesOptions
    from dualtk.data.storage import Source

    features: FeaturesOptions = read_section(options, "features")
    train: list[tuple[Path, tuple[float, ...], Source]] = []
    if options.train is not None:
        train = [(options.train, features.speeds, features.source)]
    others: list[tuple[Path, tuple[float, ...], Source]] = [(one, (1.0,), "stored") for one in options.directories]
    sets = list(dict.fromkeys([*train, *others]))
    require_folders(sets, options.out)
    for directory, speeds, source in sets:
        for line in left_out(directory):
            print(line, file=sys.stderr)
        folder = set_folder(directory, options.out, speeds, source)
        name = NAME if options.part is None else f"{NAME}-{options.part.number}"
        with locked(folder / name, folder):
            done = extract_set(
                directory,
                options.out,
                features,
                speeds=speeds,
                source=source,
                cmvn=(directory, speeds, source) in train,
                num_jobs=options.nj,
                expected_rate=options.expected_rate,
                channel=None if options.channel is None else options.channel - 1,
                max_bad=options.max_bad,
                part=options.part,
                progress=sys.stderr.isatty(),
            )
        for line in said(folder, done.bad):
            print(line, file=sys.stderr)
        print(f"{folder}: features {done}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
