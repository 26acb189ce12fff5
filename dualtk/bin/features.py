"""Make data directories with features (log-mel, or raw samples) out of Kaldi data directories with audio.

Those are only read. Any sample rate is resampled once. What features are made the section `features` of the
configuration says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_config_options, at_least
from dualtk.locks import NAME, locked


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
        "frames; goes to FOLDER/<name of DIR>, or <name of DIR>_sp where there are other speeds than 1.0",
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
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Extract the features of every directory; returns the exit status."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.train is None and not options.directories:
        arguments.error("name a data directory, or --train DIR")
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.bin.sections import read_section
    from dualtk.data.features import extract_set, require_folders, set_folder
    from dualtk.data.kaldi import left_out
    from dualtk.data.kinds import FeaturesOptions

    features: FeaturesOptions = read_section(options, "features")
    train = [] if options.train is None else [(options.train, features.speeds)]
    sets = list(dict.fromkeys([*train, *((directory, (1.0,)) for directory in options.directories)]))
    require_folders(sets, options.out)
    for directory, speeds in sets:
        for line in left_out(directory):
            print(line, file=sys.stderr)
        folder = set_folder(directory, options.out, speeds)
        with locked(folder / NAME, folder):
            done = extract_set(
                directory,
                options.out,
                features,
                speeds=speeds,
                cmvn=(directory, speeds) in train,
                num_jobs=options.nj,
                expected_rate=options.expected_rate,
                channel=None if options.channel is None else options.channel - 1,
                progress=sys.stderr.isatty(),
            )
        print(f"{folder}: features {done}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
