"""Make Kaldi data directories from a corpus in LibriSpeech's layout, downloading it first if asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.data import download
from dualtk.errors import InputError
from dualtk.locks import NAME, locked


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk prepare-librispeech`."""
    options = argparse.ArgumentParser(prog="dualtk prepare-librispeech", description=__doc__)
    options.add_argument(
        "--librispeech", type=Path, required=True, metavar="DIR", help="the corpus: DIR/<set> or DIR/LibriSpeech/<set>"
    )
    options.add_argument(
        "--sets",
        nargs="*",
        default=[],
        metavar="SET",
        help="sets that get a data directory each (dev-clean becomes dev_clean); default: none",
    )
    options.add_argument(
        "--combine",
        nargs="+",
        action="append",
        default=[],
        metavar="WORD",
        help="NAME SET...: several sets in one data directory of that name; may be repeated; default: none",
    )
    options.add_argument(
        "--output", type=Path, default=Path("data"), metavar="DIR", help="folder of the data directories; default: data"
    )
    options.add_argument(
        "--ctm",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE",
        help="word times in seconds, `utterance channel start duration WORD`; default: the corpus's <set>.ctm, if any",
    )
    options.add_argument(
        "--download", action="store_true", help="only download the missing sets and unpack them; default: no"
    )
    options.add_argument(
        "--url", default=download.URL, help=f"folder of the archives <set>.tar.gz; default: {download.URL}"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare every directory asked for; returns the exit status."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.data import librispeech

    if not options.sets and not options.combine:
        raise InputError("--sets or --combine: name at least one set")
    directories = {name.replace("-", "_"): [name] for name in options.sets}
    for name, *sets in options.combine:
        if not sets or name in directories:
            raise InputError(f"--combine {name}: needs a name of its own and at least one set")
        directories[name] = sets
    if options.download:
        for name in dict.fromkeys(name for sets in directories.values() for name in sets):
            fresh = download.download_set(options.librispeech, name, options.url)
            print(f"{name}: {'downloaded' if fresh else 'is there already'}")
        return 0
    for name, sets in directories.items():
        with locked(options.output / name / NAME, options.output / name):
            fresh = librispeech.prepare(options.librispeech, sets, options.output / name, options.ctm)
        print(f"{options.output / name}: {'written from' if fresh else 'unchanged:'} {' '.join(sets)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
