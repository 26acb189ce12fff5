"""Transcribe audio: as it comes, with the whole utterance in view, or both with the same weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dualtk.bin.display import Display, JsonDisplay, TextDisplay
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import add_precision_option, add_search_options, search_options
from dualtk.data.live import file_pieces, raw_pieces
from dualtk.errors import InputError
from dualtk.recognizer import TWO_PASS, load

PIECE_SECONDS = 0.1  # of audio that is taken at once


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk transcribe`."""
    options = argparse.ArgumentParser(prog="dualtk transcribe", description=__doc__)
    options.add_argument("files", nargs="+", metavar="FILE", help="audio; - is raw 16-bit 16 kHz mono PCM on stdin")
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument(
        "--mode",
        default="streaming",
        metavar="NAME",
        help="a mode of the experiment (streaming, full), or two-pass: streaming, then full; default: streaming",
    )
    options.add_argument(
        "--chunk-ms",
        type=at_least(1),
        metavar="N",
        help="milliseconds decided together in streaming; default: as trained",
    )
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument("--json", action="store_true", help="JSON lines: partial results, then one with word times")
    add_precision_option(options)
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: torch's own choice"
    )
    add_search_options(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe; see `parser` for the options."""
    options = parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    recognizer = load(
        options.exp,
        options.mode,
        tokens=options.tokens,
        chunk_ms=options.chunk_ms,
        precision=options.precision,
        search=search_options(options),
    )
    in_words = TextDisplay(sys.stdout, len(options.files) > 1, options.mode == TWO_PASS)
    display: Display = JsonDisplay(sys.stdout) if options.json else in_words
    status = 0
    for name in options.files:
        pieces = raw_pieces(sys.stdin.buffer, PIECE_SECONDS) if name == "-" else file_pieces(Path(name), PIECE_SECONDS)
        try:
            for transcript in recognizer.transcribe(pieces):
                display.show(name, transcript)
        except InputError as error:  # one bad file does not keep the others from being transcribed
            display.clear()
            line = str(error)
            print(f"dualtk: error: {line if line.startswith(name) else f'{name}: {line}'}", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(run(main))
