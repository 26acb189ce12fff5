"""A microphone by sounddevice: the only file that imports it. N samples."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import torch

from dualtk.data.live import Piece
from dualtk.errors import InputError
from dualtk.extras import extra


def microphone_pieces(device: str, seconds: float) -> Iterator[Piece]:
    """What a microphone picks up from now on, `seconds` at a time, at its own rate.

    Args:
        device: name or number; empty for the default.
        seconds: length of a piece.

    Raises:
        InputError: sounddevice or its PortAudio is not installed, or there is no such microphone.
    """
    try:
        with extra("microphone"):
            import sounddevice
    except InputError as error:
        raise InputError(f"--microphone needs sounddevice and PortAudio (libportaudio2): {error}") from error
    chosen: Any = int(device) if device.isdigit() else device or None
    blocks: queue.Queue[Any] = queue.Queue()

    def take(samples: Any, frames: int, time: Any, status: Any) -> None:
        blocks.put(samples[:, 0].copy())

    try:
        rate = int(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        size = max(1, round(seconds * rate))
        with sounddevice.InputStream(rate, size, chosen, channels=1, dtype="float32", callback=take):
            while True:
                yield torch.from_numpy(blocks.get()), rate
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(f"--microphone: {str(error).splitlines()[0]}") from error
