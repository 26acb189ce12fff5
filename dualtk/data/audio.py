"""Audio files, read by libsndfile. N samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
from pydantic import Field
from torch import Tensor

from dualtk.data.kaldi import AudioSource
from dualtk.errors import InputError
from dualtk.options import Unit

LOWEST_RATE = 4000  # Hz; below it, speech is not intelligible and the header is more likely wrong than the recording
SampleRate = Annotated[int, Field(ge=LOWEST_RATE, le=192000), Unit("Hz")]


@dataclass(frozen=True)
class AudioHeader:
    """What a file says of itself; `duration` in seconds."""

    sample_rate: int
    num_samples: int

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.num_samples / self.sample_rate


def read_header(path: Path, expected_rate: int | None = None) -> AudioHeader:
    """Read the header of a mono file.

    Raises:
        InputError: a missing or undecodable file, more than one channel, no samples, or a rate below 4 kHz or other
            than `expected_rate` in Hz.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        reason = "no such file" if not path.is_file() else f"cannot be decoded ({_reason(error)})"
        raise InputError(f"{path}: {reason}") from error
    if info.channels != 1:
        raise InputError(f"{path}: has {info.channels} channels, expected one (mono)")
    if info.samplerate < LOWEST_RATE or expected_rate not in (None, info.samplerate):
        wanted = f"expected {expected_rate}" if expected_rate else f"expected at least {LOWEST_RATE}"
        raise InputError(f"{path}: has a sample rate of {info.samplerate} Hz, {wanted}")
    if info.frames <= 0:
        raise InputError(f"{path}: holds no samples")
    return AudioHeader(info.samplerate, info.frames)


def read_audio(source: AudioSource, expected_rate: int | None = None) -> tuple[Tensor, int]:
    """The samples (N,) float32 in [-1, 1] and the sample rate in Hz of an utterance.

    Raises:
        InputError: whatever `read_header` refuses, a file that ends early, samples that are no numbers, or a segment
            outside its file.
    """
    header = read_header(source.path, expected_rate)
    start = round(source.start * header.sample_rate)
    # Kaldi's segments are given to the centisecond, so an end may lie a little after the last sample.
    end = header.num_samples if source.end is None else min(round(source.end * header.sample_rate), header.num_samples)
    if start >= end:
        raise InputError(
            f"{source.path}: ends at {header.duration:.2f} s, before a segment that starts at {source.start} s"
        )
    try:
        samples, _ = soundfile.read(str(source.path), start=start, stop=end, dtype="float32")
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{source.path}: cannot be decoded ({_reason(error)})") from error
    if len(samples) != end - start:
        raise InputError(
            f"{source.path}: ends after {start + len(samples)} samples, its header says {header.num_samples}"
        )
    if not np.isfinite(samples).all():
        raise InputError(f"{source.path}: holds samples that are not numbers")
    return torch.from_numpy(samples), header.sample_rate


def _reason(error: Exception) -> str:
    """The last part of libsndfile's message, on one line."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".").replace("\n", " ")


def check_piece(samples: Tensor, sample_rate: int, known_rate: int | None) -> None:
    """Refuse what cannot be the next piece of a stream, whose rate so far is `known_rate`.

    Raises:
        InputError: samples that are no mono signal or no numbers, a rate below 4 kHz, or other than before.
    """
    if samples.dim() != 1 or not samples.is_floating_point():
        raise InputError(f"audio of shape {tuple(samples.shape)} and {samples.dtype}: expected (N,) floats")
    if sample_rate < LOWEST_RATE:
        raise InputError(f"a sample rate of {sample_rate} Hz: expected at least {LOWEST_RATE}")
    if known_rate not in (None, sample_rate):
        raise InputError(f"the sample rate changed from {known_rate} to {sample_rate} Hz within a stream")
    if not math.isfinite(float(samples.sum())) and not bool(samples.isfinite().all()):
        raise InputError("the audio holds samples that are not numbers")
