"""Train tokens on the transcripts of Kaldi data directories or on plain text, and write a folder of them.

Which tokens the section `tokens` of the configuration says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_config_options
from dualtk.tables import read_lines, read_table


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk tokens`."""
    options = argparse.ArgumentParser(prog="dualtk tokens", description=__doc__)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--text", type=Path, nargs="+", metavar="FILE", help="Kaldi text files: `utterance WORDS` in each line"
    )
    source.add_argument(
        "--plain", type=Path, nargs="+", metavar="FILE", help="plain text files, a sentence in each line"
    )
    add_config_options(options, required=False)
    options.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Train the tokens; returns the exit status."""
    options = parser().parse_args(argv)
    # Only here: torch comes with them, for which --help does not wait.
    from dualtk.bin.sections import read_section
    from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer

    if options.text:
        sentences = [text for path in options.text for text in read_table(path).values()]
    else:
        sentences = [line for path in options.plain for line in read_lines(path) if line.strip()]
    tokens: TokenOptions = read_section(options, "tokens")
    fresh = write_tokenizer(options.out, sentences, tokens)
    size = Tokenizer(options.out).vocab_size
    fewer = f" (tokens.size is {tokens.size}, this text allows no more)" if size < tokens.size else ""
    print(f"{options.out}: {size} tokens {'written' if fresh else 'unchanged'}{fewer}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
