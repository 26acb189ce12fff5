"""A folder with a network as ONNX graphs, whole or not at all: it appears when it decodes as the network does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dualtk.data.kinds import frame_fields
from dualtk.errors import InputError
from dualtk.export.comparison import Comparison, compare
from dualtk.export.contracts import (
    Target,
    decoder_graph,
    encoder_graph,
    joiner_graph,
    require_exportable,
    symbols_per_frame,
)
from dualtk.export.graphs import without_unknown
from dualtk.export.onnx_decoder import DECODER, JOINER, encoder_file
from dualtk.export.sherpa import require_sherpa
from dualtk.export.speech import Speech
from dualtk.files import atomic_folder, write_text
from dualtk.frames import FRAME_SECONDS
from dualtk.graphs.files import Precision, require_onnx, write_onnx
from dualtk.modes import Mode
from dualtk.trained import Trained


@dataclass(frozen=True)
class ExportOptions:
    """What to write.

    Attributes:
        target: for whom.
        modes: of the network, each with an encoder of its own; decoder, joiner and tokens are shared.
        precision: of the numbers inside.
        num_labels: of the window that takes the place of an LSTM predictor's state in sherpa-onnx.
    """

    target: Target
    modes: Sequence[Mode]
    precision: Precision
    num_labels: int


def export(folder: Path, trained: Trained, options: ExportOptions, speech: Sequence[Speech]) -> list[Comparison]:
    """Write a network, decode `speech` with what was written, and compare.

    Returns:
        For each mode, how it compares.

    Raises:
        InputError: the network or a mode does not fit the target, a package is missing, the folder exists, or what was
            written decodes otherwise than PyTorch.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already")
    require_onnx()
    if options.target == "sherpa-onnx":
        require_sherpa()
        trained = replace(trained, network=without_unknown(trained.network))
    require_exportable(trained.system, list(options.modes), options.target)
    network = trained.network
    graphs = {encoder_file(mode.name): encoder_graph(network, mode, options.target) for mode in options.modes}
    graphs[DECODER] = decoder_graph(network, options.target, options.num_labels)
    graphs[JOINER] = joiner_graph(network)
    with atomic_folder(folder) as temporary:
        temporary.mkdir()
        for name, graph in graphs.items():
            write_onnx(temporary / name, graph, options.precision)
        tokens = "".join(f"{piece} {index}\n" for index, piece in enumerate(trained.tokenizer.pieces))
        write_text(temporary / "tokens.txt", tokens)
        vocabulary = trained.tokenizer.path.with_name("bpe.vocab")  # sherpa-onnx cuts hotwords by it
        if vocabulary.exists():
            shutil.copyfile(vocabulary, temporary / "bpe.vocab")
        comparisons = [compare(temporary, trained, mode, options.target, speech) for mode in options.modes]
        write_text(temporary / "export.json", json.dumps(facts(trained, options, comparisons), indent=2) + "\n")
        for comparison in comparisons:
            comparison.require_equal(options.precision)
    return comparisons


def facts(trained: Trained, options: ExportOptions, comparisons: Sequence[Comparison]) -> dict[str, object]:
    """What export.json says."""
    subsampling = trained.network.encoder.subsampling
    return {
        "target": options.target,
        "precision": options.precision,
        "symbols_per_frame": symbols_per_frame(options.target),
        "features": frame_fields(trained.system.features),
        "frame_ms": round(subsampling * FRAME_SECONDS * 1000),
        "modes": {mode.name: asdict(mode) for mode in options.modes},
        "comparison": {
            one.mode: {
                "utterances": len(next(iter(one.results.values())).texts),
                "audio_seconds": one.audio_seconds,
                "largest_difference": one.difference,
                "letters": sum(map(len, list(one.results.values())[-1].texts.values())),
                "changed_words": one.changed.errors,
                "changed_texts": one.changed_texts,
                "decoders": {
                    name: {
                        "word_error_rate": one.errors[name].rate if one.errors else None,
                        "real_time_factor": result.seconds / one.audio_seconds,
                    }
                    for name, result in one.results.items()
                },
            }
            for one in comparisons
        },
    }
