"""What `decode` and `transcribe` share of streaming: its precision, and the step that computes in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dualtk.data.batches import Batch
from dualtk.errors import InputError
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.streaming.compiled_step import Precision, compile_step
from dualtk.streaming.session import Recognizer
from dualtk.transducer.model import Transducer


def add_precision_option(options: argparse.ArgumentParser) -> None:
    """--precision."""
    options.add_argument(
        "--precision",
        choices=["float32", "int8"],
        default="float32",
        help="arithmetic of the encoder's linear layers; int8 is for streaming on a CPU with a bounded left context, "
        "and about twice as fast; default: float32",
    )


def open_recognizer(network: Transducer, mode: Mode, search: Search[Any], precision: Precision) -> Recognizer[Any]:
    """What streams in `mode` share, with a compiled step where the mode allows one.

    Raises:
        InputError: a full-context mode, or 8 bits in a mode with unbounded left context.
    """
    if precision != "float32" and mode.full_context:
        raise InputError(f"--precision: is for streaming, and mode {mode.name} sees the whole utterance")
    if mode.left_context is not None:
        return Recognizer(network, mode, search, compile_step(network.encoder, mode, precision))
    if precision != "float32":
        raise InputError(f"--precision {precision}: mode {mode.name} has an unbounded left context")
    return Recognizer(network, mode, search)


class StoredFeatures:
    """The front end of a stream whose features (T, F) are known: all of them come with `finish`, none from audio."""

    def __init__(self, feats: Tensor) -> None:
        self.feats = feats

    def accept(self, samples: Tensor, sample_rate: int) -> Tensor:
        """No frames (0, F)."""
        return self.feats[:0]

    def finish(self) -> Tensor:
        """The frames (T, F)."""
        return self.feats

    def save(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"feats": self.feats}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on with the features that were saved."""
        self.feats = saved["feats"]


def decode_streams(
    recognizer: Recognizer[Any], batches: Iterator[Batch]
) -> Iterator[tuple[str, int, list[Hypothesis]]]:
    """Utterance, feature frames and hypotheses, each utterance a stream alone.

    Streams that took their steps together would share the scale by which 8-bit arithmetic rounds their input: what is
    found of one would depend on the others.
    """
    for batch in batches:
        for utterance, feats, length in zip(batch.utterances, batch.feats, batch.feat_lengths.tolist()):
            session = recognizer.open(StoredFeatures(feats[:length]))
            session.finish()
            yield utterance, length, session.nbest()
