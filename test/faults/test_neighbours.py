"""A stream that is at fault is refused, and says nothing to the streams beside it, in float32 and in 8 bits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from small_networks import speech

import dualtk
from dualtk.errors import InputError

pytestmark = pytest.mark.slow

RATE = 16000
PIECES = [speech(32000, seed).numpy() for seed in range(3)]


def finish(streams) -> list[str]:
    for stream in streams:
        stream.finish()
    return [" ".join(segment.text for segment in stream.results()) for stream in streams]


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("bad", [1e20, np.nan, np.inf, 2e3])
def test_bad_samples_are_refused_for_their_stream_alone(world, precision, engine, bad) -> None:
    recognizer = loaded(precision, engine)
    alone = finish([feed(recognizer.stream(), piece) for piece in PIECES[:2]])
    streams = [recognizer.stream() for _ in range(3)]
    for start in range(0, 32000, 4000):
        pieces = [piece[start : start + 4000].copy() for piece in PIECES]
        if start == 8000:
            spoilt = [*pieces[:2], np.full(4000, bad, np.float32)]
            with pytest.raises(InputError):
                recognizer.accept(streams, spoilt, RATE)
        recognizer.accept(streams, pieces, RATE)
    assert finish(streams)[:2] == alone


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("loud", [1e-6, 0.999, 0.0])
def test_a_loud_or_silent_neighbour_changes_nothing(world, precision, engine, loud) -> None:
    recognizer = loaded(precision, engine)
    alone = finish([feed(recognizer.stream(), PIECES[0])])
    streams = [recognizer.stream(), recognizer.stream()]
    square = loud * np.sign(np.sin(np.arange(32000, dtype=np.float32)))
    for start in range(0, 32000, 4000):
        recognizer.accept(streams, [PIECES[0][start : start + 4000], square[start : start + 4000]], RATE)
    assert finish(streams)[:1] == alone


@cache
def loaded(precision: str, engine: str) -> dualtk.Recognizer:
    """The network of `world`, which every test has anew and equal."""
    return dualtk.load("exp", precision=precision, engine=engine)


def feed(stream, samples):
    for start in range(0, len(samples), 4000):
        stream.accept(samples[start : start + 4000], RATE)
    return stream
