"""A trained network written as ONNX, and how it compares."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import torch

from dualtk.errors import InputError
from dualtk.export.comparison import Comparison
from dualtk.export.contracts import SHERPA_SUBSAMPLING
from dualtk.export.folder import ExportOptions, export
from dualtk.export.speech import read_speech
from dualtk.modes import Mode
from dualtk.recognizer import with_chunk
from dualtk.trained import Trained, load

BOTH = "both"


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


def run_export(options: argparse.Namespace) -> int:
    """Export by the options of `dualtk export`; returns the exit status."""
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
