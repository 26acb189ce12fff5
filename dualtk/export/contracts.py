"""Which graphs a target wants, with what inputs, outputs and metadata.

`onnx`: the state of an encoder or predictor is as many tensors as it has, under their names; a frame is a frame.

`sherpa-onnx`: what its transducers of type `lstm` (streaming) and `transducer` (whole utterances) are made of. Values
go by position. It takes a frame for 40 ms and at most one label from it, so a frame of 80 ms stands there twice. Read
in its sources, version 2.0.1: online-lstm-transducer-model.cc, online-transducer-model.cc,
offline-transducer-model.cc, online-transducer-greedy-search-decoder.cc.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from dualtk.data.fbank import FbankOptions
from dualtk.encoders.base import Encoder
from dualtk.errors import InputError
from dualtk.export.graphs import FullEncoder, Joint, LabelStep, LabelWindow, PackedStates, StreamingEncoder
from dualtk.graphs.files import Graph
from dualtk.modes import Mode
from dualtk.search.options import SearchOptions
from dualtk.system import TransducerSystem
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import StatelessPredictor

Target = Literal["sherpa-onnx", "onnx"]
SHERPA_SUBSAMPLING = 4  # feature frames that sherpa-onnx takes a frame of the joiner for
NUM_STREAMS = 2  # of the examples that graphs are traced with
NUM_FRAMES = 203
STREAMS = {0: "N"}


def require_exportable(system: TransducerSystem, modes: list[Mode], target: Target) -> None:
    """Refuse a network that `target` could not run.

    Raises:
        InputError: names the key at fault.
    """
    features = system.features
    if not isinstance(features, FbankOptions):
        raise InputError(f"features.kind: {features.kind} cannot be exported, log-mel energies (fbank) can")
    usual = FbankOptions()
    if target == "sherpa-onnx" and not features.has_usual_band:
        raise InputError(
            f"features: {features.label} cannot be exported, sherpa-onnx computes {usual.low_frequency:g} to "
            f"{usual.high_frequency:g} Hz at {usual.sample_rate} Hz"
        )
    for mode in modes:
        if not mode.full_context and mode.left_context is None and hasattr(system.model.encoder, "num_heads"):
            raise InputError(
                f"modes.{mode.name}.left_context: it is unbounded, and a graph has a state of constant size: "
                "give --left-context"
            )


def repeats_of(encoder: Encoder, target: Target) -> int:
    """How often each encoder frame stands in the joiner's input."""
    is_multiple = target == "sherpa-onnx" and encoder.subsampling % SHERPA_SUBSAMPLING == 0
    return encoder.subsampling // SHERPA_SUBSAMPLING if is_multiple else 1


def symbols_per_frame(target: Target) -> int:
    """Labels that one frame of the joiner may emit."""
    return 1 if target == "sherpa-onnx" else SearchOptions().max_symbols


def encoder_graph(network: Transducer, mode: Mode, target: Target) -> Graph:
    """The encoder in one mode."""
    repeats = repeats_of(network.encoder, target)
    facts: dict[str, object] = {"mode": mode.name, "frame_features": network.encoder.subsampling}
    if mode.full_context:
        feats = torch.randn(NUM_STREAMS, NUM_FRAMES, network.encoder.input_dim)
        inputs = {"x": feats, "x_lens": torch.tensor([NUM_FRAMES, NUM_FRAMES // 2])}
        axes = {"x": {0: "N", 1: "T"}, "encoder_out": {0: "N", 1: "T_out"}}
        axes |= {"x_lens": STREAMS, "encoder_out_lens": STREAMS}
        facts["model_type"] = "conformer"  # its name for the inputs and outputs of every encoder of icefall
        return Graph(FullEncoder(network, mode, repeats), inputs, ["encoder_out", "encoder_out_lens"], axes, facts)
    encoder = StreamingEncoder(network, mode, repeats)
    facts |= {"T": encoder.window, "decode_chunk_len": encoder.shift}
    inputs = {"x": torch.randn(NUM_STREAMS, encoder.window, network.encoder.input_dim)}
    if target == "onnx":
        shapes = {name: (NUM_STREAMS, *shape) for name, shape in encoder.spec.items()}
        return with_states(encoder, inputs, shapes, 0, facts)
    packed = PackedStates(encoder)
    widths = {"d_model": packed.widths[0], "rnn_hidden_size": packed.widths[1]}
    facts |= {"model_type": "lstm", "num_encoder_layers": 1, **widths}
    shapes = {f"state{index}": (1, NUM_STREAMS, width) for index, width in enumerate(packed.widths)}
    return with_states(packed, inputs, shapes, 1, facts)


def with_states(
    module: nn.Module,
    inputs: dict[str, Tensor],
    states: dict[str, tuple[int, ...]],
    axis: int,
    facts: dict[str, object],
    output: str = "encoder_out",
) -> Graph:
    """A graph that takes states of these shapes, streams along `axis`, and returns those after it as `new_NAME`."""
    inputs = inputs | {name: torch.zeros(shape) for name, shape in states.items()}
    axes = dict.fromkeys((*inputs, output), STREAMS) | {name: {axis: "N"} for name in states}
    axes |= {f"new_{name}": {axis: "N"} for name in states}
    return Graph(module, inputs, [output, *(f"new_{name}" for name in states)], axes, facts)


def decoder_graph(network: Transducer, target: Target, num_labels: int) -> Graph:
    """The predictor; of `num_labels` labels where a window of them takes the place of an LSTM's state."""
    facts: dict[str, object] = {"vocab_size": network.joiner.vocab_size}
    if isinstance(network.predictor, StatelessPredictor):
        num_labels = network.predictor.context_size
    elif target == "onnx":
        step = LabelStep(network)
        labels = {"y": torch.full((NUM_STREAMS, 1), -1)}
        shapes = {name: (NUM_STREAMS, *shape) for name, shape in step.spec.items()}
        return with_states(step, labels, shapes, 0, facts | {"context_size": 1}, "decoder_out")
    window = LabelWindow(network, num_labels)
    inputs = {"y": torch.zeros(NUM_STREAMS, num_labels, dtype=torch.int64)}
    axes = {"y": STREAMS, "decoder_out": STREAMS}
    return Graph(window, inputs, ["decoder_out"], axes, facts | {"context_size": num_labels})


def joiner_graph(network: Transducer) -> Graph:
    """The joiner."""
    width = network.joiner.joiner_dim
    inputs = {name: torch.randn(NUM_STREAMS, width) for name in ("encoder_out", "decoder_out")}
    axes = dict.fromkeys((*inputs, "logit"), STREAMS)
    return Graph(Joint(network), inputs, ["logit"], axes, {"joiner_dim": width})
