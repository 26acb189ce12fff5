"""The decoder of a mode: of whole utterances in full context, of streams in every other mode."""

from __future__ import annotations

from typing import Any, Literal

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.compiled_step import Precision, compile_step
from dualtk.streaming.onnx_labels import onnx_labels
from dualtk.streaming.onnx_steps import OnnxSteps
from dualtk.streaming.session import StreamingDecoder
from dualtk.transducer.model import Transducer

Decoder = WholeDecoder | StreamingDecoder[Any]
Engine = Literal["torch", "onnxruntime"]


def open_decoder(
    network: Transducer,
    mode: Mode,
    search: Search[Any],
    precision: Precision = "float32",
    engine: Engine = "torch",
) -> Decoder:
    """What decodes in `mode`, on the device that `network` is on; with 8 bits or onnxruntime that is a CPU.

    Args:
        network: in eval mode.
        mode: of it.
        search: over its predictor and joiner.
        precision: arithmetic of the encoder in streaming; with onnxruntime, of the label side too.
        engine: what computes the steps of the encoder in streaming, and the label side.

    Raises:
        InputError: 8 bits or onnxruntime in full context, or in a mode with unbounded left context.
    """
    for option, value, usual in (("--precision", precision, "float32"), ("--engine", engine, "torch")):
        if value != usual and mode.full_context:
            raise InputError(f"{option}: is for streaming, and mode {mode.name} sees the whole utterance")
        if value != usual and mode.left_context is None:
            raise InputError(f"{option} {value}: mode {mode.name} has an unbounded left context")
        if value != usual and network.feature_mean.device.type != "cpu":
            raise InputError(f"{option} {value}: computes on a CPU, not with --device {network.feature_mean.device}")
    if mode.full_context:
        return WholeDecoder(network, mode, search)
    if engine == "onnxruntime":
        steps = OnnxSteps(network.encoder, mode, precision)
        labels = onnx_labels(network.predictor, network.joiner, precision)
        return StreamingDecoder(network, mode, search, steps, labels=labels)
    # A compiled step is for CPUs, and its state has a constant shape: elsewhere, or with a state that grows, the
    # encoder's own step runs.
    if mode.left_context is None or network.feature_mean.device.type != "cpu":
        return StreamingDecoder(network, mode, search)
    step = compile_step(network.encoder, mode, precision)
    return StreamingDecoder(network, mode, search, step, together=precision == "float32")
