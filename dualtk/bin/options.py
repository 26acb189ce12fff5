"""Options that several commands have, and their types; imports nothing heavy, so that --help need not wait."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dualtk.data.transcripts import Normalisation

SELDOM, OFTEN = 0.001, 1000.0  # times that an epoch may read a part of `dualtk shard --mix`


def at_least(lowest: int, highest: int | None = None) -> Callable[[str], int]:
    """The `type` of an option that is a whole number of at least `lowest`, and at most `highest`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at least {lowest}")
        if highest is not None and number > highest:
            raise argparse.ArgumentTypeError(f"{text}: expected a whole number of at most {highest}")
        return number

    return convert


def add_config_options(options: argparse.ArgumentParser, required: bool = True) -> None:
    """--config, --size and --set."""
    options.add_argument(
        "--config", type=Path, required=required, metavar="YAML", help="the system (egs/methods/*.yaml)"
    )
    add_size_options(options)


def add_size_options(options: argparse.ArgumentParser) -> None:
    """--size and --set."""
    options.add_argument(
        "--size", type=Path, metavar="YAML", help="size and budget that a method is based on (egs/*/asr1/conf/*.yaml)"
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change one value of the YAML; may be repeated",
    )


def add_max_unknown(options: argparse.ArgumentParser) -> None:
    """--max-unknown."""
    options.add_argument(
        "--max-unknown",
        type=float,
        default=2.0,
        metavar="PERCENT",
        help="most words of a text that may hold characters without a token; default: 2",
    )


def add_max_bad(options: argparse.ArgumentParser) -> None:
    """--max-bad."""
    options.add_argument(
        "--max-bad",
        type=at_least(0),
        default=0,
        metavar="N",
        help="utterances that are left out where they cannot be read, each named with its reason in a file left_out; "
        "one more is an error; default: 0",
    )


def add_text_options(options: argparse.ArgumentParser) -> None:
    """--unicode, --case and --punctuation: what is done to transcripts."""
    options.add_argument(
        "--unicode",
        choices=["NFC", "NFKC", "keep"],
        default="NFC",
        help="form of letters that can be written in several ways; default: NFC",
    )
    options.add_argument("--case", choices=["keep", "upper", "lower"], default="keep", help="of letters; default: keep")
    options.add_argument(
        "--punctuation",
        choices=["keep", "remove"],
        default="keep",
        help="remove: marks become spaces, but an apostrophe inside a word stays; default: keep",
    )


def normalisation(options: argparse.Namespace) -> Normalisation:
    """What `add_text_options` asks for."""
    unicode = None if options.unicode == "keep" else options.unicode
    return Normalisation(unicode, options.case, options.punctuation == "remove")
