"""A server whose streams onnxruntime steps: those of 8 bits together."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from serving.client import Heard, talk_to
from serving.running import talk

import dualtk

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_streams_beside_each_other_say_what_transcribe_says(start_server, model, precision) -> None:
    """Those that come and go, loud and silent ones among them."""
    options = ["--precision", precision, "--engine", "onnxruntime"]
    server = start_server(*options, "--max-openings", "0", "--max-latency", "1e6")
    recognizer = dualtk.load(model, precision=precision, engine="onnxruntime")
    sounds = [talk(seed) for seed in range(6)] + [np.zeros(40000, np.float32), np.sign(talk(3)) * 0.999]

    async def all_of_them() -> list[Heard]:
        return await asyncio.gather(
            *(talk_to(server.socket, sound, 500 + 300 * number, 0.003) for number, sound in enumerate(sounds))
        )

    heard = asyncio.run(all_of_them())
    assert [one.text for one in heard] == [recognizer.transcribe(sound, rate=16000).text for sound in sounds]
    assert sum(bool(one.text) for one in heard) >= 6
