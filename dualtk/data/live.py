"""Audio piece by piece, from files of any format or from a pipe. N samples, C channels."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import torch
from torch import Tensor

from dualtk.data.audio import check_samples, file_blocks
from dualtk.data.containers import STREAMED
from dualtk.data.mp3 import is_mp3, next_frame
from dualtk.errors import InputError
from dualtk.frames import RAW_RATE

Piece = tuple[Tensor, int]  # samples (N,) in [-1, 1], and their rate in Hz
MAGIC = (b"fLaC", b"OggS", b"ID3", b"NIST", b"FORM", b".snd", b"caff", b"RF64")  # first bytes of files with a header
CODINGS = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}  # WAV's format and bits of a sample: what libsndfile calls them
EXTENSIBLE = 0xFFFE


def file_pieces(path: Path, seconds: float) -> Iterator[Piece]:
    """The samples of an audio file, `seconds` at a time; channels are averaged.

    Raises:
        InputError: the file is missing, cannot be decoded to its end, or holds no numbers in [-1, 1].
    """
    for block, rate in file_blocks(path, seconds):
        yield torch.from_numpy(block.mean(axis=1)), rate


def stream_pieces(
    stream: BinaryIO, seconds: float, *, raw_rate: int = RAW_RATE, raw_channels: int = 1
) -> Iterator[Piece]:
    """Audio as it arrives, at most `seconds` at a time: a WAV, or raw PCM of 16 bits (little-endian).

    Other files with a header are read to their end first.

    Args:
        stream: of bytes.
        seconds: longest piece.
        raw_rate: of samples without a header, in Hz.
        raw_channels: of those; they are averaged.

    Raises:
        InputError: a WAV of a kind that is not read, or that ends early; a file that cannot be decoded.
    """
    head = _exactly(stream, 12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        yield from _wave_pieces(stream, seconds)
        return
    if head.startswith(MAGIC) or (is_mp3(head) and is_mp3(next_frame(head := head + _exactly(stream, 4096)))):
        content = io.BytesIO(head + stream.read())
        for block, rate in file_blocks(content, seconds):
            yield torch.from_numpy(block.mean(axis=1)), rate
        return
    yield from _sample_pieces(stream, head, _Samples("PCM_16", raw_channels, raw_rate, 2 * raw_channels), seconds)


@dataclass(frozen=True)
class _Samples:
    """How samples are written: libsndfile's name, channels, rate in Hz, bytes of one sample of all channels."""

    subtype: str
    channels: int
    rate: int
    width: int


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """The next `count` bytes, fewer at the end."""
    content = b""
    while len(content) < count and (more := stream.read(count - len(content))):
        content += more
    return content


def _wave_pieces(stream: BinaryIO, seconds: float) -> Iterator[Piece]:
    """The samples of a WAV, from behind its first 12 bytes on."""
    samples: _Samples | None = None
    while len(head := _exactly(stream, 8)) == 8:
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            break
        content = _exactly(stream, length + length % 2)
        if name == b"fmt " and len(content) >= 16:
            code, channels, rate, _, width, bits = struct.unpack("<HHIIHH", content[:16])
            code = struct.unpack("<H", content[24:26])[0] if code == EXTENSIBLE and len(content) >= 26 else code
            if (code, bits) not in CODINGS or channels < 1 or width != channels * bits // 8:
                raise InputError(f"is a WAV of format {code} with {bits} bits: convert it to 16-bit PCM first")
            samples = _Samples(CODINGS[code, bits], channels, rate, width)
    if samples is None or len(head) < 8:
        raise InputError("is a WAV that ends before its samples")
    count = 0
    limit = None if length >= STREAMED or length == 0 else length // samples.width
    for piece, rate in _sample_pieces(stream, b"", samples, seconds, limit):
        count += len(piece)
        yield piece, rate
    if limit is not None and count < limit:
        raise InputError(f"ends after {count} samples, its header says {limit}")


def _sample_pieces(
    stream: BinaryIO, begun: bytes, samples: _Samples, seconds: float, limit: int | None = None
) -> Iterator[Piece]:
    """Samples without a header, `limit` at most; `begun` was read already."""
    read = getattr(stream, "read1", stream.read)  # what is there, rather than waiting for all
    size = max(1, round(seconds * samples.rate)) * samples.width
    left = None if limit is None else limit * samples.width
    waiting, ended = begun, False
    while not ended:
        block = b"" if left == 0 else read(size if left is None else min(size, left))
        left, ended = None if left is None else left - len(block), not block
        waiting += block
        whole = len(waiting) // samples.width * samples.width
        if whole:
            yield torch.from_numpy(_decode(waiting[:whole], samples)), samples.rate
        waiting = waiting[whole:]


def _decode(content: bytes, samples: _Samples) -> np.ndarray:
    """Bytes to the mean of the channels, (N,)."""
    decoded, _ = soundfile.read(
        io.BytesIO(content),
        dtype="float32",
        always_2d=True,
        format="RAW",
        subtype=samples.subtype,
        channels=samples.channels,
        samplerate=samples.rate,
        endian="LITTLE",
    )
    check_samples(decoded)
    mean: np.ndarray = decoded.mean(axis=1)
    return mean
