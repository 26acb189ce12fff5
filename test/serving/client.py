"""A client of live streams for the tests, by `websockets`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import websockets


@dataclass
class Heard:
    """What a client got: messages as they came, and with what the socket was closed."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    is_done: bool = False
    code: int | None = None
    reason: str = ""

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [one for one in self.messages if one["is_final"]]

    @property
    def text(self) -> str:
        return " ".join(one["text"] for one in self.finals if one["text"])


async def listen(socket: websockets.ClientConnection) -> Heard:
    heard = Heard()
    try:
        async for message in socket:
            if message == "Done!":
                heard.is_done = True
            else:
                heard.messages.append(json.loads(message))
    except websockets.ConnectionClosedError:
        pass
    heard.code, heard.reason = socket.close_code, socket.close_reason or ""
    return heard


async def talk_to(url: str, samples: np.ndarray, size: int = 1600, pause: float = 0.0, **options: Any) -> Heard:
    """Send samples in pieces of `size`, `pause` seconds apart."""
    async with websockets.connect(url, max_size=None, **options) as socket:
        listening = asyncio.create_task(listen(socket))
        for start in range(0, len(samples), size):
            await socket.send(samples[start : start + size].astype("<f4").tobytes())
            await asyncio.sleep(pause)
        await socket.send("Done")
        return await listening


async def send_all(url: str, messages: list[str | bytes], **options: Any) -> Heard:
    """Send whatever messages, and hear until the server closes."""
    async with websockets.connect(url, max_size=None, **options) as socket:
        listening = asyncio.create_task(listen(socket))
        try:
            for message in messages:
                await socket.send(message)
        except websockets.ConnectionClosed:
            pass
        return await asyncio.wait_for(listening, 30)
