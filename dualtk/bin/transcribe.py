"""Transcribe audio of any length: as it comes, with whole utterances in view, or both with the same weights.

A recording is cut into utterances at its pauses. `--mode two-pass` shows each as it is spoken, and then what the same
weights make of it with all of it in view.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import (
    add_arithmetic_options,
    add_endpoint_options,
    add_search_options,
)
from dualtk.formats import FORMATS
from dualtk.frames import RAW_RATE


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk transcribe`."""
    options = argparse.ArgumentParser(prog="dualtk transcribe", description=__doc__)
    options.add_argument(
        "files", nargs="*", metavar="FILE", help="audio; - is stdin: a WAV, or raw 16-bit PCM, see --raw-rate"
    )
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment or model folder")
    options.add_argument(
        "--mode",
        default="streaming",
        metavar="NAME",
        help="a mode of the experiment (streaming, full), or two-pass: streaming, then full; default: streaming",
    )
    options.add_argument(
        "--microphone",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="listen to the default microphone, or to that of this name or number, until Ctrl-C",
    )
    options.add_argument(
        "--raw-rate", type=at_least(4000), default=RAW_RATE, metavar="HZ", help=f"of raw PCM; default: {RAW_RATE}"
    )
    options.add_argument("--raw-channels", type=at_least(1), default=1, metavar="N", help="of raw PCM; default: 1")
    options.add_argument(
        "--chunk-ms",
        type=at_least(1),
        metavar="N",
        help="milliseconds decided together in streaming; default: as trained",
    )
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument("--json", action="store_true", help="JSON lines: partial results, then segments with words")
    options.add_argument(
        "--output-format",
        type=_formats,
        metavar="F[,F...]",
        help=f"of {', '.join(FORMATS)}: whole transcripts, one after the other, or in files of --output",
    )
    options.add_argument("--output", type=Path, metavar="DIR", help="write DIR/NAME.FORMAT for each file; default: txt")
    options.add_argument("--jobs", type=at_least(1), default=1, metavar="N", help="files at once; default: 1")
    options.add_argument("--device", default="cpu", metavar="NAME", help="as torch names it; default: cpu")
    add_arithmetic_options(options)
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: torch's own choice"
    )
    add_endpoint_options(options)
    add_search_options(options)
    return options


def _formats(text: str) -> list[str]:
    for name in text.split(","):
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name}: expected one of {', '.join(FORMATS)}")
    return text.split(",")


def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.transcribing import run_transcription  # with it comes torch, for which --help does not wait

    return run_transcription(options)


if __name__ == "__main__":
    sys.exit(run(main))
