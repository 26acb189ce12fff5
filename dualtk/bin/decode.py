"""Stage 4: decode a data directory in one mode of a trained network.

In full context whole utterances are encoded in batches. In a streaming mode each utterance is a stream, and those of a
batch take their steps together; with `--precision int8` in PyTorch each takes its own, with the arithmetic of
`dualtk transcribe --precision int8`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import add_max_bad, at_least
from dualtk.bin.searching import add_arithmetic_options, add_search_options


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk decode`."""
    options = argparse.ArgumentParser(prog="dualtk decode", description=__doc__)
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument(
        "--mode",
        required=True,
        metavar="NAME",
        help="a mode of the experiment: full, streaming, ...; streaming@8 in chunks of 8 frames, streaming@8-32 "
        "with a left context of 32 too",
    )
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with feats.scp")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output; default: EXP/decode/<data>-<mode>; with --head ctc <data>-ctc-<mode>, with --precision int8 "
        "<data>-int8-<mode>, with --engine onnxruntime <data>-onnxruntime-<mode>",
    )
    options.add_argument(
        "--max-frames", type=at_least(1), default=20000, metavar="N", help="feature frames in a batch; default: 20000"
    )
    options.add_argument(
        "--nj",
        type=at_least(1),
        default=1,
        metavar="N",
        help="processes, on a CPU of one thread each, on as many GPUs as there are; default: 1",
    )
    options.add_argument(
        "--nbest",
        type=at_least(0),
        default=0,
        metavar="N",
        help="also write nbest.jsonl with this many hypotheses of --beam",
    )
    options.add_argument(
        "--word-times",
        action="store_true",
        help="also write aligned.ctm: when words were said, by the CTC head; hyp.ctm has when they were emitted",
    )
    add_max_bad(options)
    add_search_options(options)
    add_arithmetic_options(options)
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Decode; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.decode_set import run_decoding  # with it comes torch, for which --help does not wait

    return run_decoding(options)


if __name__ == "__main__":
    sys.exit(run(main))
