"""What audio files say of themselves, and how libsndfile is to be shown them.

It believes some headers too much (the length of an MP3) and corrects others without a word (a WAV that ends early).
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from dualtk.data.mp3 import is_mp3, scan_mp3, tag
from dualtk.data.reading import RawFormat, Reading
from dualtk.errors import InputError

STREAMED = 0x7FFFF000  # bytes: what programs that cannot go back to the header say (sox; others 2**31 - 1 or 2**32 - 1)
PAGE, LONGEST_PAGE = b"OggS", 27 + 255 + 255 * 255  # how a page of Ogg begins, and its bytes at most
SUBTYPES = {"pcm": {2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}, "ulaw": {1: "ULAW"}, "alaw": {1: "ALAW"}}


class View(io.RawIOBase):
    """Some bytes, and then a part of a stream: a file inside another, or one with another header."""

    def __init__(self, stream: BinaryIO, start: int, end: int, head: bytes = b"") -> None:
        self._stream, self._start, self._head = stream, start, head
        self._size, self._position = len(head) + max(end - start, 0), 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any stream."""
        self._position = max(0, (0, self._position, self._size)[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """As of any stream."""
        wanted = min(len(buffer), max(self._size - self._position, 0))
        content = self._head[self._position : self._position + wanted]
        if len(content) < wanted:
            self._stream.seek(self._start + max(self._position - len(self._head), 0))
            content += self._stream.read(wanted - len(content))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


@dataclass(frozen=True)
class Container:
    """A file as libsndfile is to be shown it.

    Attributes:
        view: what to read instead of the file; None: the file as it is.
        arguments: more arguments of `soundfile.SoundFile`.
        length: its samples, where libsndfile would have to guess.
        declared: samples that its header says, or None where it says nothing, or "to the end".
        declared_bytes: the same in bytes of all channels, of which `present_bytes` are there.
    """

    view: View | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    length: int | None = None
    declared: int | None = None
    declared_bytes: int | None = None
    present_bytes: int = 0

    def missing(self, num_samples: int) -> int | None:
        """Samples that the header says, where libsndfile sees only `num_samples` of them; otherwise None."""
        if self.declared_bytes is not None and self.present_bytes < self.declared_bytes:
            width = round(self.present_bytes / max(num_samples, 1))  # 0: several samples in a byte
            said = self.declared_bytes // width if width else self.declared_bytes * num_samples // self.present_bytes
            return max(said, num_samples + 1)
        return self.declared if self.declared is not None and self.declared > num_samples else None


def examine(stream: BinaryIO, size: int, reading: Reading) -> Container:
    """How to read the audio of a file of `size` bytes.

    Raises:
        InputError: a kind of file that is not read, or one that is no whole file of its kind; the path is not said.
    """
    start = reading.offset
    if reading.raw is not None:
        return Container(View(stream, start, size), _raw(reading.raw))
    if start:
        start, size = _archived(stream, start, size)
    head = _bytes(stream, start, 16)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _wave(stream, start, size)
    view = View(stream, start, size) if reading.offset else None
    if head[:7] == b"NIST_1A":
        return _sphere(stream, start, size)
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return Container(view, declared=_aiff_samples(stream, start, size))
    if head[:4] == b".snd":
        offset, length = struct.unpack(">II", head[4:12].ljust(8, b"\0"))
        return Container(
            view, declared_bytes=None if length >= STREAMED else length, present_bytes=size - start - offset
        )
    if head[:4] == PAGE:
        _require_last_page(stream, start, size)
    if is_mp3(head):
        length = scan_mp3(View(stream, start, size))
        if length is not None:
            return Container(View(stream, start + length.first, size, tag(length.padding)), length=length.samples)
    return Container(view)


def _bytes(stream: BinaryIO, start: int, count: int) -> bytes:
    stream.seek(start)
    return stream.read(count)


def _raw(raw: RawFormat) -> dict[str, Any]:
    return {
        "format": "RAW",
        "samplerate": raw.rate,
        "channels": raw.channels,
        "subtype": raw.subtype,
        "endian": raw.endian,
    }


def _archived(stream: BinaryIO, start: int, size: int) -> tuple[int, int]:
    """Start and end of the audio at an offset: as it is, or behind `AUDIO` and its length (kaldiio)."""
    head = _bytes(stream, start, 14)
    if head[:5] == b"AUDIO":
        width = head[5] if len(head) > 5 else 0
        length = int.from_bytes(head[6 : 6 + width], "little")
        begin = start + 6 + width
        if not 0 < width <= 8 or begin + length > size:
            raise InputError(f"byte {start}: no whole audio there")
        return begin, begin + length
    if head[:4] == b"RIFF":
        length = struct.unpack("<I", head[4:8])[0] + 8
        return start, size if length >= STREAMED else min(size, start + length)
    if head[:4] in (b"fLaC", b"NIST"):
        return start, size
    raise InputError(f"byte {start}: no audio there")


def _wave(stream: BinaryIO, start: int, size: int) -> Container:
    """A WAV: the size of its data against what is there."""
    whole = struct.unpack("<I", _bytes(stream, start + 4, 4))[0]
    position, long_size = start + 12, None
    while len(head := _bytes(stream, position, 8)) == 8:
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        position += 8
        if name == b"ds64" and len(sizes := _bytes(stream, position + 8, 8)) == 8:
            long_size = struct.unpack("<Q", sizes)[0]
        if name == b"data":
            break
        position += length + length % 2
    else:
        return Container(View(stream, start, size) if start else None)
    present = size - position
    if long_size is not None and length == 0xFFFFFFFF:
        length = long_size
    elif length >= STREAMED or (length == 0 and start + whole + 8 != size):  # "to the end"
        length = min(present, STREAMED - 1)
        header = bytearray(_bytes(stream, start, position - start))
        header[-4:] = struct.pack("<I", length)
        return Container(View(stream, position, position + length, bytes(header)))
    elif _bytes(stream, position + length + length % 2, 4) == b"RIFF":
        raise InputError("holds a second WAV file after its end")
    view = View(stream, start, size) if start else None
    return Container(view, declared_bytes=length, present_bytes=present)


def _aiff_samples(stream: BinaryIO, start: int, size: int) -> int | None:
    """Samples that the COMM chunk of an AIFF says."""
    position = start + 12
    while position < size and len(head := _bytes(stream, position, 14)) == 14:
        if head[:4] == b"COMM":
            return struct.unpack(">I", head[10:14])[0] or None  # 0: written as a stream
        length = struct.unpack(">I", head[4:8])[0]
        position += 8 + length + length % 2
    return None


def _require_last_page(stream: BinaryIO, start: int, size: int) -> None:
    """Refuse an Ogg stream that ends within a page (RFC 3533, section 6): it says nowhere how long it is."""
    first = max(start, size - LONGEST_PAGE)
    tail = _bytes(stream, first, size - first)
    page = tail[tail.rfind(PAGE) :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 or len(segments) < page[26] or len(page) < 27 + page[26] + sum(segments):
        raise InputError("ends within an Ogg page: it was cut off")


def _sphere(stream: BinaryIO, start: int, size: int) -> Container:
    """A NIST SPHERE file: a header of lines `name -type value`, then samples."""
    try:
        length = int(_bytes(stream, start + 8, 8))
        lines = _bytes(stream, start, min(length, 1 << 20)).decode("ascii", "replace").split("\n")[2:]
        fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(None, 2)) == 3}
        rate, count, channels = (int(fields[f"{name}"]) for name in ("sample_rate", "sample_count", "channel_count"))
        width = int(fields.get("sample_n_bytes", "2"))
    except (ValueError, KeyError) as error:
        raise InputError(f"its NIST header lacks or spoils a field ({error})") from error
    coding = fields.get("sample_coding", "pcm").strip().replace("mu-law", "ulaw")
    if "," in coding:
        name = coding.split("-")[1] if "-" in coding else coding
        raise InputError(f"is compressed by {name}, which is not read here: convert it with sph2pipe -f wav")
    subtype = SUBTYPES.get(coding, {}).get(width)
    if subtype is None or channels < 1 or rate < 1:
        raise InputError(f"has NIST coding {coding} of {width} bytes, {channels} channels, {rate} Hz: not read here")
    endian = "BIG" if fields.get("sample_byte_format", "01").strip() == "10" else "LITTLE"
    view = View(stream, start + length, size)
    return Container(view, _raw(RawFormat(rate, channels, subtype, endian)), declared=count)
