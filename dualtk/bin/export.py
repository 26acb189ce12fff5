"""Write a trained network as ONNX: for unmodified sherpa-onnx on any device, or as plain graphs for onnxruntime.

What was written then decodes speech beside PyTorch, on one thread: that of --data and --files, or noise where there is
neither. A network that decodes otherwise than PyTorch is not left behind. docs/export.md says how to use the folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.errors import InputError
from dualtk.export.comparison import Comparison
from dualtk.export.contracts import SHERPA_SUBSAMPLING, Target
from dualtk.export.folder import ExportOptions, export
from dualtk.export.speech import read_speech
from dualtk.graphs.files import Precision
from dualtk.modes import Mode
from dualtk.recognizer import with_chunk
from dualtk.trained import Trained, load

BOTH = "both"


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk export`."""
    options = argparse.ArgumentParser(prog="dualtk export", description=__doc__)
    options.add_argument("model", type=Path, metavar="MODEL", help="experiment folder of stage 3")
    options.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    options.add_argument("--to", required=True, choices=get_args(Target), help="what will run it")
    options.add_argument(
        "--mode", metavar="NAME", help="a mode of the experiment, or both: streaming and full; default: all it has"
    )
    options.add_argument("--precision", choices=get_args(Precision), default="float32", help="default: float32")
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


def chosen_modes(options: argparse.Namespace, trained: Trained) -> list[Mode]:
    """The modes to export, with the chunk and context that the options say."""
    names = list(trained.system.modes) if options.mode is None else [options.mode]
    modes = [trained.mode(name) for name in (["streaming", "full"] if names == [BOTH] else names)]
    if all(mode.full_context for mode in modes):
        for key, value in (("--chunk-ms", options.chunk_ms), ("--left-context", options.left_context)):
            if value is not None:
                raise InputError(f"{key}: is for streaming, and mode {modes[0].name} sees the whole utterance")
    return [mode if mode.full_context else changed(options, trained, mode) for mode in modes]


def changed(options: argparse.Namespace, trained: Trained, mode: Mode) -> Mode:
    """A streaming mode with the chunk and context that the options say."""
    mode = with_chunk(mode, options.chunk_ms, trained.network.encoder.subsampling)
    return mode if options.left_context is None else replace(mode, left_context=options.left_context)


def lines(comparison: Comparison) -> Iterator[str]:
    """How a mode compares, to read."""
    one, utterances = comparison, len(next(iter(comparison.results.values())).texts)
    yield (
        f"mode {one.mode}: {utterances} utterance{'s' if utterances > 1 else ''}, {one.audio_seconds:.0f} s; a frame "
        f"differs from PyTorch's by at most {one.difference:.1e} of the largest, {one.changed.errors} of "
        f"{one.changed.reference} words in {one.changed_texts} texts differ"
    )
    for name, result in one.results.items():
        rate = f"WER {100 * one.errors[name].rate:6.2f} %, " if one.errors else ""
        yield f"  {name:<20} {rate}real-time factor {result.seconds / one.audio_seconds:.4f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Export; see `parser` for the options."""
    options = parser().parse_args(argv)
    torch.set_num_threads(1)
    speech = read_speech(options.data, options.files)
    trained = load(options.model, options.tokens)
    wanted = ExportOptions(options.to, chosen_modes(options, trained), options.precision, options.labels)
    comparisons = export(options.out, trained, wanted, speech)
    for file in sorted(options.out.glob("*.onnx")):
        print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
    for comparison in comparisons:
        print("\n".join(lines(comparison)))
    frame = trained.network.encoder.subsampling
    if options.to == "sherpa-onnx" and frame % SHERPA_SUBSAMPLING:
        print(f"sherpa-onnx takes a frame for {SHERPA_SUBSAMPLING}0 ms: its times are too short or long by {frame}/4")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
