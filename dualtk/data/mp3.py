"""The length of an MP3, counted frame by frame: headers that say it are absent, or of one of several joined files.

ISO/IEC 11172-3 and 13818-3 (frames), and the Xing or Info frame that encoders put first.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from dualtk.errors import InputError

RATES = (44100, 48000, 32000)  # of MPEG-1; MPEG-2 has half of them, MPEG-2.5 a quarter
MIN_PADDING = 64  # bytes: libsndfile does not pass over an empty tag
KILOBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
KILOBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


@dataclass(frozen=True)
class _Frame:
    """Of layer 3: its bytes, rate in Hz, channels, samples, and where a Xing header begins in it."""

    size: int
    rate: int
    channels: int
    samples: int
    side: int


def _parse(head: bytes) -> _Frame | None:
    """The frame that four bytes begin, or None; a frame of a free bit rate is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, index, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate == 3 or index in (0, 15):
        return None
    first = version == 3
    hertz = RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    samples = 1152 if first else 576
    bits = (KILOBITS_1 if first else KILOBITS_2)[index] * 1000
    channels = 1 if head[3] >> 6 == 3 else 2
    side = 4 + ((17, 32) if first else (9, 17))[channels - 1]
    return _Frame(samples // 8 * bits // hertz + (head[2] >> 1 & 1), hertz, channels, samples, side)


def is_mp3(head: bytes) -> bool:
    """Whether a file that begins so is an MP3."""
    return head[:3] == b"ID3" or _parse(head) is not None


def next_frame(content: bytes) -> bytes:
    """What follows the first frame of an MP3 without tags, as far as it is there."""
    frame = _parse(content[:4])
    return b"" if frame is None else content[frame.size :]


@dataclass(frozen=True)
class Mp3Length:
    """What a decoder is to be told of an MP3 whose header does not say its length, or that of its first part only.

    Attributes:
        first: byte at which its first frame of audio begins.
        samples: of all frames.
        padding: bytes of a tag before the first frame by which a decoder that divides the size of the file by that of
            a frame comes to at least as many samples.
    """

    first: int
    samples: int
    padding: int


def scan_mp3(stream: BinaryIO | io.RawIOBase) -> Mp3Length | None:
    """Count the frames of an MP3; None where its own header says their number, or nothing can be said.

    Raises:
        InputError: it ends before the frames that its header says, or its rate or channels change on the way.
    """
    content = stream.read() or b""
    position, count, first = 0, 0, 0
    said: int | None = None
    alike: _Frame | None = None
    while position + 4 <= len(content):
        if content[position : position + 3] == b"ID3" and position + 10 <= len(content):
            position += 10 + sum(
                byte % 128 << 7 * (3 - i) for i, byte in enumerate(content[position + 6 : position + 10])
            )
            continue
        frame = _parse(content[position : position + 4])
        if frame is None or position + frame.size > len(content):
            position = _next_sync(content, position + 1)
            continue
        if alike is not None and (frame.rate, frame.channels) != (alike.rate, alike.channels):
            if _parse(content[position + frame.size : position + frame.size + 4]) is None:
                position = _next_sync(content, position + 1)  # not a frame, but bytes that look like the start of one
                continue
            raise InputError(
                f"is an MP3 that changes from {alike.rate} Hz and {alike.channels} channels to {frame.rate} Hz and "
                f"{frame.channels}: convert it to WAV first"
            )
        header = _said(content, position, frame) if count == 0 else None
        if header is not None:
            said = header
        else:
            alike, first = (frame, position) if alike is None else (alike, first)
            count += 1
        position += frame.size
    if alike is None:
        return None
    if said and said > count + 1:  # some encoders count the header's own frame
        raise InputError(f"ends after {count * alike.samples} samples, its header says {said * alike.samples}")
    if said in (count, count + 1):
        return None
    return Mp3Length(first, count * alike.samples, max((count + 2) * alike.size - (len(content) - first), MIN_PADDING))


def tag(padding: int) -> bytes:
    """An empty ID3v2 tag with `padding` bytes."""
    return b"ID3\4\0\0" + bytes(padding >> 7 * (3 - i) & 127 for i in range(4)) + bytes(padding)


def _said(content: bytes, position: int, frame: _Frame) -> int | None:
    """What a frame that is only a header says of the number of frames, 0 for nothing; None for a frame of audio."""
    xing = content[position + frame.side : position + frame.side + 12]
    if xing[:4] in (b"Xing", b"Info") and len(xing) == 12:
        return int.from_bytes(xing[8:], "big") if xing[7] & 1 else 0
    vbri = content[position + 36 : position + 54]
    return int.from_bytes(vbri[14:], "big") if vbri[:4] == b"VBRI" and len(vbri) == 18 else None


def _next_sync(content: bytes, position: int) -> int:
    found = content.find(b"\xff", position)
    return found if found >= 0 else len(content)
