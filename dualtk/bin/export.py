"""Write a trained network as ONNX: for unmodified sherpa-onnx on any device, or as plain graphs for onnxruntime.

What was written then decodes speech beside PyTorch, on one thread: that of --data and --files, or noise where there is
neither. A network that decodes otherwise than PyTorch is not left behind. docs/export.md says how to use the folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk export`."""
    options = argparse.ArgumentParser(prog="dualtk export", description=__doc__)
    options.add_argument("model", type=Path, metavar="MODEL", help="experiment folder of stage 3")
    options.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    options.add_argument("--to", required=True, choices=["sherpa-onnx", "onnx"], help="what will run it")
    options.add_argument(
        "--mode", metavar="NAME", help="a mode of the experiment, or both: streaming and full; default: all it has"
    )
    options.add_argument(
        "--precision", choices=["float32", "int8", "float16"], default="float32", help="default: float32"
    )
    options.add_argument(
        "--chunk-ms", type=at_least(1), metavar="N", help="milliseconds decided together in streaming; default: trained"
    )
    options.add_argument(
        "--left-context",
        type=at_least(0),
        metavar="N",
        help="encoder frames before its chunk that a frame attends to in streaming; default: as trained",
    )
    options.add_argument(
        "--labels",
        type=at_least(2),
        default=16,
        metavar="N",
        help="labels that an LSTM predictor reads in sherpa-onnx, which keeps no state of it; default: 16",
    )
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: MODEL/lang")
    options.add_argument("--data", type=Path, metavar="DIR", help="data directory with wav.scp to decode afterwards")
    options.add_argument(
        "--files", type=Path, nargs="+", default=[], metavar="FILE", help="audio files to decode afterwards"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Export; see `parser` for the options."""
    options = parser().parse_args(argv)
    from dualtk.bin.exporting import run_export  # with it comes torch, for which --help does not wait

    return run_export(options)


if __name__ == "__main__":
    sys.exit(run(main))
