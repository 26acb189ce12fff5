"""Recordings that are mixed into speech: noises and room responses of a data directory. N samples."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dualtk.data.audio import read_audio, read_header
from dualtk.data.kaldi import AudioSource, read_audio_sources
from dualtk.data.resample import resample
from dualtk.errors import InputError


class RecordingError(InputError):
    """A recording that is mixed in cannot be read: the fault of no utterance."""


class Recordings:
    """The audio of a data directory, one drawn after another; read when it is drawn.

    Args:
        data: a data directory with wav.scp, perhaps segments, or its wav.scp.
        sample_rate: that signals are given in, in Hz.

    Raises:
        InputError: no such tables, one at fault, or a file that is no mono audio.
    """

    def __init__(self, data: Path, sample_rate: int) -> None:
        table = wav_table(data)
        if not table.is_file():
            raise InputError(f"{data}: expected a data directory with wav.scp, or its wav.scp")
        sources = read_audio_sources(table.parent)
        # Workers, and a run that continues from elsewhere, see the same files.
        self.sources = [replace(one, path=Path(os.path.abspath(one.path))) for one in sources.values()]
        for one in {(one.path, one.reading): one for one in self.sources}.values():
            read_header(one)  # now, and not in the middle of a training
        self.data, self.sample_rate = data, sample_rate

    def draw(self, random: np.random.Generator, longest: float | None = None) -> Tensor:
        """The samples (N,) of a recording, or of a part of it that lasts `longest` seconds.

        Raises:
            RecordingError: it cannot be read any more.
        """
        source = self.sources[random.integers(len(self.sources))]
        start = random.random()  # drawn in any case, so that what follows does not hang on the length of a file
        try:
            if longest is not None:
                source = _part(source, longest, start)
            samples, rate = read_audio(source)
        except InputError as error:
            raise RecordingError(f"{self.data}: {error}") from error
        return resample(samples, rate, self.sample_rate)


def wav_table(data: Path) -> Path:
    """The wav.scp of a data directory, which may be named itself."""
    return data if data.name == "wav.scp" else data / "wav.scp"


def _part(source: AudioSource, seconds: float, position: float) -> AudioSource:
    """`seconds` of a recording that is longer; `position` in 0..1 says where."""
    end = read_header(source).duration if source.end is None else source.end
    spare = end - source.start - seconds
    if spare <= 0.0:
        return source
    start = source.start + position * spare
    return replace(source, start=start, end=start + seconds)


def fill(samples: Tensor, length: int) -> Tensor:
    """The first `length` samples of a signal (N,) that begins again at its end."""
    return samples.repeat(-(-length // max(len(samples), 1)))[:length] if len(samples) != length else samples


def power(samples: Tensor) -> float:
    """Mean square of a signal (N,)."""
    return float(torch.mean(torch.square(samples.double()))) if len(samples) else 0.0
