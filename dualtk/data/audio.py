"""Audio files, read by libsndfile. N samples, C channels."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import soundfile
import torch
from pydantic import Field
from torch import Tensor

from dualtk.data.ahead import read_ahead
from dualtk.data.containers import Container, examine
from dualtk.data.kaldi import AudioSource
from dualtk.data.reading import Reading
from dualtk.data.remote import fetched
from dualtk.errors import InputError
from dualtk.options import Unit

LOWEST_RATE, HIGHEST_RATE = 4000, 192000  # Hz; beyond, a header is more likely wrong than the recording
SampleRate = Annotated[int, Field(ge=LOWEST_RATE, le=HIGHEST_RATE), Unit("Hz")]
LOUDEST = 10.0  # of floats whose full scale is 1: loud mixes pass, 16-bit numbers written as floats do not
MAX_OVERSHOOT = 0.5  # seconds by which a segment may end after its recording, as in Kaldi's extract-segments
BLOCK = 1 << 20  # samples decoded at once where the length is not known
UNKNOWN_LENGTH = 1 << 50  # samples; libsndfile gives an absurd number for a FLAC whose length is not known


@dataclass(frozen=True)
class AudioHeader:
    """What a file says of itself; `duration` in seconds."""

    sample_rate: int
    num_samples: int

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.num_samples / self.sample_rate


def read_header(source: AudioSource | Path, expected_rate: int | None = None) -> AudioHeader:
    """What is known of a recording without decoding it, where that is possible.

    Args:
        source: an utterance, whose whole recording is looked at, or a mono file.
        expected_rate: in Hz; None: any.

    Raises:
        InputError: a missing or undecodable file, one that ends before the samples that its header says, more than one
            channel where none is chosen, no samples, or a rate that is not between 4 and 192 kHz or not as expected.
    """
    hint = "" if isinstance(source, Path) else ": --channel, segments or reco2file_and_channel can choose one"
    source = AudioSource(source) if isinstance(source, Path) else source
    fetch(source)
    with _open(source.path, source.reading) as (file, container):
        header, result = _header(file, container), np.zeros((1, file.channels), np.float32)
        if header is not None and source.reading.is_seekable:
            result, _ = _apply(result, file.samplerate, source.reading)
    if header is None or not source.reading.is_seekable:
        result, rate = _decode(source.path, source.reading, _stamp(source.path))
        header = AudioHeader(rate, len(result))
    if result.shape[1] != 1:
        raise InputError(f"{source.path}: has {result.shape[1]} channels, expected one (mono){hint}")
    _check(source.path, header, expected_rate)
    return header


def fetch(source: AudioSource) -> None:
    """Have the file of an utterance on this machine, where it is in a shard at a URL.

    Raises:
        InputError: it cannot be fetched, or is not what shards.json says.
    """
    if source.reading.remote is not None:
        fetched(*source.reading.remote)


def said_seconds(path: Path) -> float | None:
    """Length of a recording by its header, without decoding it; None where that does not say it.

    Raises:
        InputError: a missing or undecodable file, or one that ends before the samples that its header says.
    """
    with _open(path, Reading()) as (file, container):
        header = _header(file, container)
    return None if header is None else header.duration


def read_audio(source: AudioSource, expected_rate: int | None = None) -> tuple[Tensor, int]:
    """The samples (N,) float32 in [-1, 1] and the sample rate in Hz of an utterance.

    Raises:
        InputError: whatever `read_header` refuses, a file that ends early, samples that are no numbers or far beyond
            [-1, 1], or a segment outside its file.
    """
    header = read_header(source, expected_rate)
    start, end = _borders(source, header)
    with _named(source.path):
        samples = _read_part(source, header, start, end)
        check_samples(samples)
    return torch.from_numpy(np.ascontiguousarray(samples)), header.sample_rate


def count_samples(source: AudioSource, expected_rate: int | None = None) -> tuple[int, int]:
    """The samples of an utterance by its header, without decoding it where that is possible, and the rate in Hz.

    Raises:
        InputError: whatever `read_header` refuses, or a segment outside its file.
    """
    header = read_header(source, expected_rate)
    start, end = _borders(source, header)
    return end - start, header.sample_rate


def check_segment(source: AudioSource, header: AudioHeader) -> None:
    """Refuse a segment that begins or, by half a second, ends after its recording."""
    _borders(source, header)


def _borders(source: AudioSource, header: AudioHeader) -> tuple[int, int]:
    """First sample of an utterance, and the one after its last."""
    if source.start >= header.duration:
        raise InputError(
            f"{source.path}: ends at {header.duration:.2f} s, before a segment that starts at {source.start} s"
        )
    if source.end is not None and source.end > header.duration + MAX_OVERSHOOT:
        raise InputError(
            f"{source.path}: ends at {header.duration:.2f} s, more than {MAX_OVERSHOOT} s before the end of a segment "
            f"at {source.end} s"
        )
    start = round(source.start * header.sample_rate)
    end = header.num_samples if source.end is None else min(round(source.end * header.sample_rate), header.num_samples)
    return min(start, end - 1), end


def _read_part(source: AudioSource, header: AudioHeader, start: int, end: int) -> np.ndarray:
    """Samples (N,) from `start` to `end` of a recording."""
    if source.reading.is_seekable:
        with _open(source.path, source.reading) as (file, container):
            if (whole := _header(file, container)) is not None:
                file.seek(start)
                samples = file.read(end - start, dtype="float32", always_2d=True)
                if len(samples) != end - start:
                    raise InputError(f"ends after {start + len(samples)} samples, its header says {whole.num_samples}")
                return _apply(samples, file.samplerate, source.reading)[0][:, 0]
    return _decode(source.path, source.reading, _stamp(source.path))[0][start:end, 0]


def _check(path: Path, header: AudioHeader, expected_rate: int | None) -> None:
    """Refuse what is no speech of the expected rate."""
    rate = header.sample_rate
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or expected_rate not in (None, rate):
        wanted = f"expected {expected_rate}" if expected_rate else f"expected {LOWEST_RATE} to {HIGHEST_RATE}"
        raise InputError(f"{path}: has a sample rate of {rate} Hz, {wanted}")
    if header.num_samples <= 0:
        raise InputError(f"{path}: holds no samples")


@contextmanager
def _named(path: Path | None) -> Iterator[None]:
    """Errors of a file carry its path, where it has one, and those of libraries are one line."""
    try:
        yield
    except (soundfile.SoundFileError, OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        reason = str(error) if isinstance(error, InputError) else f"cannot be decoded ({_reason(error)})"
        if isinstance(error, FileNotFoundError | IsADirectoryError):
            reason = "no such file"
        if path is None or reason.startswith(f"{path}: "):
            raise InputError(reason) from error
        raise InputError(f"{path}: {reason}") from error


@contextmanager
def _open(path: Path, reading: Reading) -> Iterator[tuple[soundfile.SoundFile, Container]]:
    """A file at its first sample."""
    if reading.size is not None:
        with _named(path):
            content = io.BytesIO(_member(path, reading.offset, reading.size, _stamp(path)))
            with _shown(content, content, reading.size, replace(reading, offset=0, size=None)) as opened:
                yield opened
        return
    with _named(path), path.open("rb") as stream:
        if reading.compressed:
            content = io.BytesIO(gzip.decompress(stream.read()))
            with _shown(content, content, len(content.getvalue()), reading) as opened:
                yield opened
        else:
            with _shown(stream, os.fsencode(path), os.fstat(stream.fileno()).st_size, reading) as opened:
                yield opened


@lru_cache(maxsize=1)
def _member(path: Path, offset: int, size: int, stamp: tuple[int, int]) -> bytes:
    """A file inside a tar: kept, for its header is read before its samples are."""
    read_ahead(path)
    with path.open("rb") as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content) != size:
        raise InputError(f"ends within the file at byte {offset}")
    return content


class _File(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read forwards only where its length is not known, for libsndfile cannot find its place there."""

    def seekable(self) -> bool:
        return self.frames < UNKNOWN_LENGTH and bool(super().seekable())


@contextmanager
def _shown(
    stream: BinaryIO, itself: BinaryIO | bytes, size: int, reading: Reading
) -> Iterator[tuple[soundfile.SoundFile, Container]]:
    """What libsndfile makes of a stream of `size` bytes; `itself` is what it reads where nothing has to be changed."""
    container = examine(stream, size, reading)
    stream.seek(0)
    with _File(container.view or itself, **container.arguments) as file:
        yield file, container


def _header(file: soundfile.SoundFile, container: Container) -> AudioHeader | None:
    """What a file says of itself, or None where it does not say its length.

    Raises:
        InputError: it says more than there is.
    """
    if file.frames >= UNKNOWN_LENGTH:
        return None
    if container.length is not None:
        return AudioHeader(file.samplerate, min(container.length, file.frames))
    said = container.missing(file.frames)
    if said is not None:
        raise InputError(f"ends after {file.frames} samples, its header says {said}")
    return AudioHeader(file.samplerate, file.frames)


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file: a decoded recording is kept for its other segments."""
    with _named(path):
        state = path.stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=1)
def _decode(path: Path, reading: Reading, stamp: tuple[int, int]) -> tuple[np.ndarray, int]:
    """A whole recording (N, C) after the steps of its reading, and its rate."""
    with _open(path, reading) as (file, container):
        header = _header(file, container)
        length = UNKNOWN_LENGTH if header is None else header.num_samples
        blocks = []
        while len(block := _read_block(file, BLOCK, length)):
            blocks.append(block)
            length -= len(block)
        samples = np.concatenate([np.zeros((0, file.channels), np.float32), *blocks])
        if header is not None and len(samples) != header.num_samples:
            raise InputError(f"ends after {len(samples)} samples, its header says {header.num_samples}")
        check_samples(samples)
        return _apply(samples, file.samplerate, reading)


def _read_block(file: soundfile.SoundFile, size: int, left: int) -> np.ndarray:
    """At most `size` of the `left` next samples, (N, C); none at the end."""
    block: np.ndarray = file.read(min(size, left), dtype="float32", always_2d=True)
    return block


def _apply(samples: np.ndarray, rate: int, reading: Reading) -> tuple[np.ndarray, int]:
    for step in reading.steps:
        samples, rate = step(samples, rate)
    return samples, rate


def _reason(error: Exception) -> str:
    """The last part of a library's message, on one line."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".").replace("\n", " ")


def check_samples(samples: np.ndarray) -> None:
    """Refuse a signal that is no numbers, or not on the scale of [-1, 1].

    Raises:
        InputError: it does not name the file.
    """
    loudest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(loudest):
        raise InputError("holds samples that are not numbers")
    if loudest > LOUDEST:
        raise InputError(f"holds samples up to {loudest:.0e}, expected [-1, 1]".replace("e+0", "e"))


def check_piece(samples: Tensor, sample_rate: int, known_rate: int | None) -> None:
    """Refuse what cannot be the next piece of a stream, whose rate so far is `known_rate`.

    Raises:
        InputError: samples that are no mono signal, no numbers or far beyond [-1, 1], or a rate that is not between 4
            and 192 kHz, or other than before.
    """
    if samples.dim() != 1 or not samples.is_floating_point():
        raise InputError(f"audio of shape {tuple(samples.shape)} and {samples.dtype}: expected (N,) floats")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(f"a sample rate of {sample_rate} Hz: expected {LOWEST_RATE} to {HIGHEST_RATE}")
    if known_rate not in (None, sample_rate):
        raise InputError(f"the sample rate changed from {known_rate} to {sample_rate} Hz within a stream")
    try:
        check_samples(samples.detach().cpu().float().numpy())
    except InputError as error:
        raise InputError(f"the audio {error}") from None


def file_blocks(source: Path | io.BytesIO, seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """The samples (N, C) of a file, `seconds` at a time, with their rate in Hz.

    Raises:
        InputError: as `read_audio`, for any number of channels.
    """
    path = source if isinstance(source, Path) else None
    opened = (
        _open(source, Reading())
        if isinstance(source, Path)
        else _shown(source, source, len(source.getvalue()), Reading())
    )
    with _named(path), opened as (file, container):
        header = _header(file, container)
        left = UNKNOWN_LENGTH if header is None else header.num_samples
        size = max(1, round(seconds * file.samplerate))
        while len(block := _read_block(file, size, left)):
            left -= len(block)
            check_samples(block)
            yield block, file.samplerate
        if header is not None and left:
            raise InputError(f"ends after {header.num_samples - left} samples, its header says {header.num_samples}")
