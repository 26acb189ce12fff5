"""Train wordpieces on the transcripts of a Kaldi data directory or on plain text, and write a lang directory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.data.bpe import MODEL_TYPES, write_language
from dualtk.data.kaldi import read_table
from dualtk.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk bpe`."""
    options = argparse.ArgumentParser(prog="dualtk bpe", description=__doc__)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--text", type=Path, nargs="+", metavar="FILE", help="Kaldi text files: `utterance WORDS` in each line"
    )
    source.add_argument(
        "--plain", type=Path, nargs="+", metavar="FILE", help="plain text files, a sentence in each line"
    )
    options.add_argument(
        "--nbpe",
        type=int,
        default=500,
        metavar="N",
        help="number of wordpieces, <blk> and <unk> included; default: 500",
    )
    options.add_argument(
        "--type", choices=MODEL_TYPES, default="unigram", help="sentencepiece algorithm; default: unigram"
    )
    options.add_argument(
        "--output", type=Path, metavar="DIR", help="lang directory to write; default: data/lang_<type><nbpe>"
    )
    return options


def _plain_lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8") from error


def _sentences(options: argparse.Namespace) -> list[str]:
    if options.text:
        return [text for path in options.text for text in read_table(path).values()]
    return [line for path in options.plain for line in _plain_lines(path)]


def main(argv: Sequence[str] | None = None) -> int:
    """Train the wordpieces; returns the exit status."""
    options = parser().parse_args(argv)
    output = options.output or Path("data") / f"lang_{options.type}{options.nbpe}"
    fresh = write_language(output, _sentences(options), options.nbpe, options.type)
    print(f"{output}: {options.nbpe} wordpieces {'written' if fresh else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
