"""The messages of a live stream: those of sherpa-onnx's online server, and what a client may ask for beside them.

A client sends 32-bit floats in [-1, 1] (little-endian) in messages of any length, and the text `Done` at the end. It
gets JSON with `text` and `segment` for every chunk, `is_final` where a segment has its last text, and `Done!` last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dualtk.data.audio import HIGHEST_RATE, LOWEST_RATE
from dualtk.errors import InputError
from dualtk.formats import as_dict
from dualtk.serving.events import Final, Progress

DONE = "Done"
LAST = "Done!"
RATE = 16000
LONGEST_HOTWORD = 100  # letters


@dataclass(frozen=True)
class Wish:
    """What a client asks for when it opens a stream; rate in Hz."""

    mode: str
    rate: int
    hotwords: Sequence[str]


def read_wish(query: Mapping[str, str], mode: str, max_hotwords: int) -> Wish:
    """`?mode=two-pass&sample_rate=48000&hotwords=ONE PHRASE :2.0/ANOTHER`; `mode` is that of clients that say none.

    Raises:
        InputError: names the parameter at fault.
    """
    rate = query.get("sample_rate", str(RATE))
    if not rate.isascii() or not rate.isdigit() or not LOWEST_RATE <= int(rate[:7]) <= HIGHEST_RATE:
        raise InputError(f"sample_rate: {rate[:20]}: expected {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    hotwords = [one.strip() for one in query.get("hotwords", "").split("/") if one.strip()]
    if len(hotwords) > max_hotwords:
        raise InputError(f"hotwords: {len(hotwords)}, at most {max_hotwords} are taken")
    if any(len(one) > LONGEST_HOTWORD for one in hotwords):
        raise InputError(f"hotwords: one of more than {LONGEST_HOTWORD} letters")
    return Wish(query.get("mode", mode), int(rate), hotwords)


def read_samples(message: bytes) -> Tensor:
    """The samples (N,) of a message.

    Raises:
        InputError: no whole number of floats.
    """
    if len(message) % 4:
        raise InputError(f"a message of {len(message)} bytes is no whole number of 32-bit floats")
    return torch.from_numpy(np.frombuffer(message, dtype="<f4").astype(np.float32))


def progress_message(event: Progress, mode: str) -> str:
    """What has been understood of a segment that goes on."""
    return json.dumps(
        {
            "text": event.text,
            "segment": event.number,
            "is_final": False,
            "mode": mode,
            "decoded": round(event.decoded, 3),
            "latency": None if event.latency is None else round(event.latency, 4),
        },
        ensure_ascii=False,
    )


def final_message(event: Final) -> str:
    """A segment, with the times and confidences of its words, and with two passes what the first had understood."""
    segment = event.segment
    fields: dict[str, object] = {"text": segment.text, "segment": event.number, "is_final": True}
    fields |= {"start_time": round(segment.start, 3), **as_dict(segment), "decoded": round(event.decoded, 3)}
    if segment.first_pass is not None:
        fields["first_pass"] = as_dict(segment.first_pass)
    return json.dumps(fields, ensure_ascii=False)


def nothing_message(mode: str) -> str:
    """What is sent last where nothing was said, for clients that take the last message for the result."""
    return json.dumps({"text": "", "segment": 0, "is_final": True, "mode": mode, "words": []})
