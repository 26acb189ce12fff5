"""Clients of a server: speakers in real time, and connections of every bad kind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import websockets

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from decoding import RATE, audio  # noqa: E402

EDGE = 0.0125  # seconds behind its frame that the window of a feature frame reaches
CHUNK = 0.16  # seconds that are decided together
PIECE = 0.08  # seconds of audio in a message


@dataclass
class Speaker:
    """A client that speaks in real time, for ever or for all of its samples.

    Attributes:
        latencies: when they were known, and seconds.
        texts: of segments that are final, in order.
    """

    url: str
    samples: np.ndarray
    is_endless: bool
    latencies: list[tuple[float, float]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    is_done: bool = False

    async def speak(self) -> None:
        """Until the end."""
        async with websockets.connect(self.url, max_size=None, compression=None, ping_interval=None) as socket:
            sent: list[tuple[float, float]] = []  # end of a piece in seconds of audio, and when it was sent
            listening = asyncio.create_task(self._listen(socket, sent))
            listening.add_done_callback(lambda task: task.cancelled() or task.exception())  # that speaking ended it
            size, began, end = round(PIECE * RATE), time.monotonic(), 0
            while self.is_endless or end < len(self.samples):
                piece = self.samples.take(range(end, end + size), mode="wrap") if self.is_endless else None
                piece = self.samples[end : end + size] if piece is None else piece
                end += len(piece)
                await asyncio.sleep(began + end / RATE - time.monotonic())
                sent.append((end / RATE, time.monotonic()))
                await socket.send(piece.astype("<f4").tobytes())
            await socket.send("Done")
            await listening

    async def _listen(self, socket: websockets.ClientConnection, sent: list[tuple[float, float]]) -> None:
        chunks = 0
        async for text in socket:
            now = time.monotonic()
            if text == "Done!":
                self.is_done = True
                return
            message = json.loads(text)
            if message.get("is_final"):
                self.texts.append(message["text"])
                continue
            chunks += 1
            # sherpa-onnx's server does not say how far it is: a message for each chunk, after four more feature frames.
            decoded = message.get("decoded", chunks * CHUNK + 0.04)
            while len(sent) > 1 and sent[0][0] < decoded + EDGE:
                sent.pop(0)
            self.latencies.append((now, now - sent[0][1]))


def talk(seed: int) -> np.ndarray:
    """Ten sentences of 2 to 6 s with a pause of 0.6 s after each."""
    draw, parts = random.Random(seed), []
    for number in range(10):
        parts += [audio(draw.uniform(2, 6), 10 * seed + number).numpy(), np.zeros(round(0.6 * RATE), np.float32)]
    return np.concatenate(parts)


async def drop_at_random(url: str, connections: int, at_once: int, seed: int, kinds: dict[str, int]) -> None:
    """Connections of every bad kind; they are counted."""
    draw, room = random.Random(seed), asyncio.Semaphore(at_once)
    sound = audio(4, 9).numpy().astype("<f4")

    async def one(kind: str) -> None:
        async with room:
            try:
                async with websockets.connect(url, compression=None) as socket:
                    for begin in range(0, draw.randrange(1, 25) * 1280, 1280):
                        await socket.send(sound[begin : begin + 1280].tobytes())
                    if kind == "garbage":
                        await socket.send(draw.choice([b"abc", b"\xff" * 400, "nonsense", os.urandom(4000)]))
                        await socket.wait_closed()
                    elif kind == "dropped":
                        socket.transport.abort()
                    elif kind == "slow":  # reads nothing for a while
                        socket.transport.pause_reading()
                        await asyncio.sleep(draw.random() * 3)
                        socket.transport.resume_reading()
                    elif kind == "tiny":
                        for _ in range(3000):
                            await socket.send(b"\0\0\0\0")
            except (websockets.WebSocketException, OSError, TimeoutError):
                pass
            kinds[kind] = kinds.get(kind, 0) + 1

    await asyncio.gather(*(one(draw.choice(["garbage", "dropped", "slow", "tiny"])) for _ in range(connections)))
