"""Live streams: the protocol of sherpa-onnx's online server, one client and many, and clients that do it wrong."""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import websockets
from serving.client import Heard, send_all, talk_to
from serving.running import talk
from small_networks import speech

import dualtk
from dualtk.recognizer import Recognizer
from dualtk.streaming.endpoint import EndpointOptions

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["streaming", "full", "two-pass"])
@pytest.mark.parametrize("size", [777, 1600, 200_000])
def test_a_stream_says_what_transcribe_says(server, recognizer: Recognizer, mode: str, size: int) -> None:
    heard = asyncio.run(talk_to(f"{server.socket}/?mode={mode}", talk(1), size))
    expected = recognizer.transcribe(talk(1), mode, rate=16000)
    assert heard.is_done
    assert heard.code == 1000
    assert heard.text == expected.text != ""
    for message, segment in zip(heard.finals, expected.segments, strict=True):
        assert message["mode"] == segment.mode
        assert message["start_time"] == pytest.approx(segment.start, abs=1e-3)
        assert [one["word"] for one in message["words"]] == [one.text for one in segment.words]
        assert [one["confidence"] for one in message["words"]] == pytest.approx(
            [one.confidence for one in segment.words], abs=2e-3
        )
        if mode == "two-pass":
            assert message["first_pass"]["text"] == segment.first_pass.text
    assert len({one["segment"] for one in heard.finals}) == len(heard.finals)


def test_text_grows_while_audio_comes(server) -> None:
    heard = asyncio.run(talk_to(server.socket, talk(1), 1600, 0.02))
    texts = [one["text"] for one in heard.messages if one["segment"] == 0]
    assert len(set(texts)) > 2
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    decoded = [one["decoded"] for one in heard.messages if not one["is_final"]]
    assert decoded == sorted(decoded)
    assert all(one["latency"] is None or 0 <= one["latency"] < 5 for one in heard.messages if not one["is_final"])


def test_many_streams_at_once_say_what_each_says_alone(server, recognizer: Recognizer) -> None:
    """Of all modes, in pieces of all sizes, at two rates."""

    async def all_of_them() -> list[Heard]:
        return await asyncio.gather(
            *(
                talk_to(f"{server.socket}/?mode={mode}", talk(seed), 500 + 300 * seed, 0.003)
                for seed in range(6)
                for mode in ("streaming", "two-pass")
            ),
            talk_to(f"{server.socket}/?sample_rate=8000", talk(1)[::2], 800, 0.003),
        )

    heard = asyncio.run(all_of_them())
    expected = [
        recognizer.transcribe(talk(seed), mode, rate=16000).text
        for seed in range(6)
        for mode in ("streaming", "two-pass")
    ]
    assert [one.text for one in heard[:-1]] == expected
    assert heard[-1].text == recognizer.transcribe(talk(1)[::2], rate=8000).text


def test_speech_without_a_pause_is_cut_as_transcribe_cuts_it(start_server, model: Path) -> None:
    """A cut goes back to a quiet place, where decoding begins anew."""
    server = start_server("--rule3-min-utterance-length", "3")
    samples = speech(16000 * 8, 3).numpy()
    recognizer = dualtk.load(model, endpoints=EndpointOptions(rule3_min_utterance_length=3.0))
    for mode in ("streaming", "two-pass"):
        expected = recognizer.transcribe(samples, mode, rate=16000)
        assert len(expected.segments) > 2
        heard = asyncio.run(talk_to(f"{server.socket}/?mode={mode}", samples, 8000))
        assert [one["text"] for one in heard.finals] == [one.text for one in expected.segments]
        for message, segment in zip(heard.finals, expected.segments):
            assert mode == "streaming" or message["first_pass"]["text"] == segment.first_pass.text


def test_nothing_said_is_an_empty_result(server) -> None:
    for samples in (np.zeros(16000), np.zeros(0)):
        heard = asyncio.run(talk_to(server.socket, samples))
        assert heard.is_done
        assert heard.messages[-1]["is_final"]
        assert heard.messages[-1]["text"] == ""


def test_words_that_a_client_prefers(server, recognizer: Recognizer) -> None:
    word = recognizer.transcribe(talk(1), rate=16000).words[0].text
    heard = asyncio.run(talk_to(f"{server.socket}/?hotwords={word}%20:9.0", talk(3)))
    plain = recognizer.stream()
    preferring = recognizer.stream(hotwords=[f"{word} :9.0"])
    texts = []
    for stream in (plain, preferring):
        stream.accept(talk(3), 16000)
        texts.append(" ".join(one.text for one in stream.finish()))
    assert heard.text == texts[1]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (b"abc", 1007, "3 bytes"),
        (struct.pack("<f", float("nan")) * 10, 1007, "not numbers"),
        (struct.pack("<f", 3e4) * 10, 1007, r"\[-1, 1\]"),
        ("Dome", 1003, "Done"),
        (b"\0" * ((1 << 20) + 4), 1009, ""),
    ],
)
def test_bad_bytes_close_one_connection_and_no_other(server, recognizer, message, code: int, reason: str) -> None:
    async def both() -> tuple[Heard, Heard]:
        good = asyncio.create_task(talk_to(server.socket, talk(2), 1600, 0.02))
        bad = await send_all(server.socket, [talk(1)[:1600].astype("<f4").tobytes(), message])
        return bad, await good

    bad, good = asyncio.run(both())
    assert bad.code == code
    assert re.search(reason, bad.reason)
    assert not bad.is_done
    assert good.text == recognizer.transcribe(talk(2), rate=16000).text


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("mode=nonsense", 400, "modes are"),
        ("sample_rate=12", 400, "sample_rate"),
        ("sample_rate=1e9", 400, "sample_rate"),
        ("hotwords=" + "/".join(["A"] * 60), 400, "hotwords"),
        ("hotwords=%E4%B8%AD", 400, "hotword"),
    ],
)
def test_a_request_that_is_not_understood_is_refused_with_its_reason(
    server, query: str, status: int, word: str
) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        asyncio.run(talk_to(f"{server.socket}/?{query}", talk(1)))
    assert caught.value.response.status_code == status
    assert word in caught.value.response.body.decode()


def test_other_paths_have_no_socket(server) -> None:
    with pytest.raises(websockets.InvalidStatus):
        asyncio.run(talk_to(f"{server.socket}/healthz", talk(1)))
