"""The decoder of a mode: of whole utterances in full context, of streams in every other mode."""

from __future__ import annotations

from typing import Any

from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.compiled_step import Precision, compile_step
from dualtk.streaming.session import StreamingDecoder
from dualtk.transducer.model import Transducer

Decoder = WholeDecoder | StreamingDecoder[Any]


def open_decoder(network: Transducer, mode: Mode, search: Search[Any], precision: Precision = "float32") -> Decoder:
    """What decodes in `mode`, on the device that `network` is on; with 8 bits that is a CPU.

    Raises:
        InputError: 8 bits in full context, or in a mode with unbounded left context.
    """
    if precision != "float32" and mode.full_context:
        raise InputError(f"--precision: is for streaming, and mode {mode.name} sees the whole utterance")
    if precision != "float32" and mode.left_context is None:
        raise InputError(f"--precision {precision}: mode {mode.name} has an unbounded left context")
    if mode.full_context:
        return WholeDecoder(network, mode, search)
    # A compiled step is for CPUs, and its state has a constant shape: elsewhere, or with a state that grows, the
    # encoder's own step runs.
    if mode.left_context is None or network.feature_mean.device.type != "cpu":
        return StreamingDecoder(network, mode, search)
    step = compile_step(network.encoder, mode, precision)
    return StreamingDecoder(network, mode, search, step, together=precision == "float32")
