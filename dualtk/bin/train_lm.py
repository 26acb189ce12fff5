"""A language model over tokens, for `dualtk decode --beam K --lm FILE`: n-grams of text, as an ARPA file."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.errors import InputError
from dualtk.files import atomic_path
from dualtk.tables import read_lines, read_table

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train-lm`."""
    options = argparse.ArgumentParser(prog="dualtk train-lm", description=__doc__)
    options.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder of tokens of stage 2")
    options.add_argument("--out", type=Path, required=True, metavar="FILE", help="the ARPA file")
    options.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help="Kaldi text: id and words")
    options.add_argument("--plain", type=Path, nargs="+", default=[], metavar="FILE", help="text, a sentence a line")
    options.add_argument("--order", type=at_least(1), default=6, metavar="N", help="longest n-grams; default: 6")
    options.add_argument(
        "--least",
        type=at_least(1),
        nargs="+",
        default=[1, 1, 2],
        metavar="N",
        help="occurrences that n-grams of length 1, 2, ... must have, the last for longer ones too; default: 1 1 2",
    )
    return options


def sentences(options: argparse.Namespace) -> Iterator[str]:
    """The words of every sentence.

    Raises:
        InputError: a file that cannot be read.
    """
    for path in options.text:
        yield from read_table(path, ordered=False, empty_values=True).values()
    for path in options.plain:
        yield from filter(str.strip, read_lines(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Estimate and write; see `parser` for the options."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.data.tokens import Tokenizer
    from dualtk.search.kneser_ney import NgramEstimator, arpa_lines

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.least != sorted(options.least):
        raise InputError(f"--least: {' '.join(map(str, options.least))}: longer n-grams may not need fewer occurrences")
    tokenizer = Tokenizer(options.tokens)
    encoded = [tokenizer.encode(words) for words in sentences(options)]
    orders = NgramEstimator(encoded, tokenizer.vocab_size, options.order).orders(options.least)
    with atomic_path(options.out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(arpa_lines(orders, tokenizer.pieces))
    counts = " ".join(str(len(one.keys)) for one in orders)
    logger.info("%s: n-grams of %d sentences by length: %s", options.out, len(encoded), counts)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
