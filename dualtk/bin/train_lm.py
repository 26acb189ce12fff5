"""A language model over the tokens of a recogniser, for `dualtk decode --beam K --lm PATH`.

`--type ngram` estimates n-grams (modified Kneser-Ney) and writes an ARPA file. `--type lstm` and `--type transformer`
train a network and write a folder; the same command continues a run that was stopped. The perplexity of held-out
sentences is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_max_unknown, at_least
from dualtk.lm_training.defaults import EVERY, NGRAM, ORDER


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train-lm`."""
    options = argparse.ArgumentParser(prog="dualtk train-lm", description=__doc__)
    options.add_argument("--type", choices=[NGRAM, "lstm", "transformer"], help="default: ngram, or that of --config")
    options.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder of tokens of stage 2")
    options.add_argument("--out", type=Path, required=True, metavar="PATH", help="the ARPA file, or the folder")
    options.add_argument("--text", type=Path, nargs="+", default=[], metavar="FILE", help="Kaldi text: id and words")
    options.add_argument("--plain", type=Path, nargs="+", default=[], metavar="FILE", help="text, a sentence a line")
    options.add_argument(
        "--dev",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"Kaldi text that is held out; default: for a network every {EVERY}th sentence, for n-grams none",
    )
    options.add_argument("--dev-plain", type=Path, nargs="+", default=[], metavar="FILE", help="the same, a line each")
    add_max_unknown(options)
    ngrams = options.add_argument_group("n-grams")
    ngrams.add_argument("--order", type=at_least(1), metavar="N", help=f"longest n-grams; default: {ORDER}")
    ngrams.add_argument(
        "--least",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="occurrences that n-grams of length 1, 2, ... must have, the last for longer ones too; default: 1 1 2",
    )
    networks = options.add_argument_group("networks")
    networks.add_argument("--config", type=Path, metavar="YAML", help="what differs from the defaults")
    networks.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="change one value; may be repeated"
    )
    networks.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    networks.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's own choice"
    )
    networks.add_argument(
        "--override", action="store_true", help="continue although configuration or text changed (default: refuse)"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.language_modelling import train  # with it comes torch, for which --help does not wait

    return train(options)


if __name__ == "__main__":
    sys.exit(run(main))
