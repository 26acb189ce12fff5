"""Say every fault of Kaldi data directories, each with its file and line; exit with status 2 if there is any."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.data.validation import validate
from dualtk.errors import visible


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk validate`."""
    options = argparse.ArgumentParser(prog="dualtk validate", description=__doc__)
    options.add_argument("directories", type=Path, nargs="+", metavar="DIR", help="a Kaldi data directory")
    options.add_argument(
        "--decode-audio", action="store_true", help="decode every audio file to its end; default: read its header"
    )
    options.add_argument(
        "--expected-rate", type=at_least(1), metavar="HZ", help="sample rate that all audio must have; default: any"
    )
    options.add_argument(
        "--min-duration",
        type=float,
        default=0.04,
        metavar="SECONDS",
        help="a shorter utterance is a fault; default: 0.04, one output frame",
    )
    options.add_argument(
        "--no-text", action="store_true", help="transcripts may be missing, as for pre-training; default: needed"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Print every fault; returns 2 if there was one, else 0."""
    options = parser().parse_args(argv)
    total = 0
    for directory in options.directories:
        faults = validate(
            directory,
            decode_audio=options.decode_audio,
            expected_rate=options.expected_rate,
            min_duration=options.min_duration,
            needs_text=not options.no_text,
        )
        total += len(faults)
        for fault in faults:
            print(visible(fault), file=sys.stderr)
        print(f"{directory}: {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    return 2 if total else 0


if __name__ == "__main__":
    sys.exit(run(main))
