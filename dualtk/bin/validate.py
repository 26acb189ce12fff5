"""Say every fault of Kaldi data directories, each with its file and line; exit with status 2 if there is any."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.errors import visible

SHOWN = 5  # faults of one kind


def condense(faults: Sequence[str], shown: int = SHOWN) -> list[str]:
    """The first faults of each kind, and how many more there are; in the order of the kinds' first faults.

    Two faults are of one kind if they say the same of other places, names and numbers.
    """
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        place, _, said = fault.partition(": ")
        words = re.sub(r"(utterance|speaker|after) \S+", r"\1", said).split(" ")
        plain = [word for word in words[1:] if re.fullmatch(r"[a-z,:;()]+", word)]
        kinds.setdefault(" ".join([re.sub(r":\d+$", "", place), *plain]), []).append(fault)
    lines = []
    for alike in kinds.values():
        lines += alike[: shown if len(alike) > shown + 1 else None]
        if len(alike) > shown + 1:
            lines.append(f"... and {len(alike) - shown} more like the last (--all prints them)")
    return lines


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
    options.add_argument(
        "--channel",
        type=at_least(1),
        metavar="N",
        help="of recordings with several channels, from 1, where segments and reco2file_and_channel say none",
    )
    options.add_argument("--nj", type=at_least(1), default=1, metavar="N", help="processes; default: 1")
    options.add_argument(
        "--all",
        action="store_true",
        help=f"print every fault; default: the first {SHOWN} of each kind, and their number",
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Print every fault; returns 2 if there was one, else 0."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.data.kaldi import left_out, parse_text
    from dualtk.data.transcripts import warn_of_unseen
    from dualtk.data.validation import validate

    total = 0
    for directory in options.directories:
        faults = validate(
            directory,
            decode_audio=options.decode_audio,
            expected_rate=options.expected_rate,
            min_duration=options.min_duration,
            needs_text=not options.no_text,
            channel=None if options.channel is None else options.channel - 1,
            num_jobs=options.nj,
            progress=sys.stderr.isatty(),
        )
        total += len(faults)
        text = directory / "text"
        unseen = warn_of_unseen(text, parse_text(directory).entries) if text.exists() else []
        for line in [*left_out(directory), *unseen, *(faults if options.all else condense(faults))]:
            print(visible(line), file=sys.stderr)
        print(f"{directory}: {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    return 2 if total else 0


if __name__ == "__main__":
    sys.exit(run(main))
