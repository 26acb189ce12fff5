"""What is done to a file before its samples are speech: where its audio begins, and the steps after it is decoded.

N samples, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dualtk.data.resample import resample
from dualtk.errors import InputError


@dataclass(frozen=True)
class Channels:
    """Keep the mean of some channels, numbered from 0; None: of all.

    `of_several`: the numbers speak of recordings with several channels, and one with a single channel is kept as it is.
    """

    numbers: tuple[int, ...] | None = None
    of_several: bool = False

    def __call__(self, samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """(N, C) -> (N, 1)."""
        if self.of_several and samples.shape[1] == 1:
            return samples, rate
        if self.numbers is not None:
            missing = [number for number in self.numbers if number >= samples.shape[1]]
            if missing:
                raise InputError(f"has {samples.shape[1]} channels, and no channel {missing[0] + 1}")
            samples = samples[:, list(self.numbers)]
        return samples.mean(axis=1, keepdims=True), rate


@dataclass(frozen=True)
class Gain:
    """Multiply by a factor; what goes beyond full scale is clipped, as 16-bit output does."""

    factor: float

    def __call__(self, samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """(N, C) -> (N, C)."""
        return np.clip(samples * np.float32(self.factor), -1.0, 1.0), rate


@dataclass(frozen=True)
class Rate:
    """Resample to a rate in Hz."""

    hertz: int

    def __call__(self, samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """(N, C) -> (M, C)."""
        columns = [resample(torch.from_numpy(column.copy()), rate, self.hertz).numpy() for column in samples.T]
        return np.stack(columns, axis=1), self.hertz


@dataclass(frozen=True)
class Trim:
    """Keep what lies from `start` on and before `end` (None: the end), in seconds or else in samples."""

    start: float
    end: float | None = None
    in_samples: bool = False

    def __call__(self, samples: np.ndarray, rate: int) -> tuple[np.ndarray, int]:
        """(N, C) -> (M, C)."""
        scale = 1 if self.in_samples else rate
        start = round(self.start * scale)
        end = len(samples) if self.end is None else min(round(self.end * scale), len(samples))
        if start >= end:
            raise InputError(f"holds {len(samples)} samples, and none from {start} to {end}")
        return samples[start:end], rate


Step = Channels | Gain | Rate | Trim


@dataclass(frozen=True)
class RawFormat:
    """How to read samples without a header; `subtype` and `endian` are soundfile's names."""

    rate: int
    channels: int = 1
    subtype: str = "PCM_16"
    endian: str = "LITTLE"


@dataclass(frozen=True)
class Reading:
    """How the audio of a recording is had from its file.

    Attributes:
        offset: byte at which it begins: not 0 in an archive of several.
        size: its bytes, where the archive is a tar; None: to the end, or as its header says.
        compressed: whether the file is a gzip.
        raw: the format of samples without a header; None: the file says it.
        steps: what is done after decoding, in order.
        remote: URL of the file and the data directory that names it, where it is fetched when it is read.
    """

    offset: int = 0
    compressed: bool = False
    raw: RawFormat | None = None
    steps: tuple[Step, ...] = field(default=())
    size: int | None = field(default=None, repr=False)  # keys of stage 1 hold the form of a reading
    remote: tuple[str, Path] | None = field(default=None, repr=False)

    @property
    def is_seekable(self) -> bool:
        """Whether a part of the result needs only the same part of the file."""
        return not self.compressed and all(isinstance(step, Channels | Gain) for step in self.steps)
