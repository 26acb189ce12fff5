"""The speech that an exported network is compared on. N samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dualtk.data.audio import read_audio, read_header
from dualtk.data.kaldi import AudioSource, read_audio_sources
from dualtk.data.resample import resample
from dualtk.errors import InputError
from dualtk.tables import read_table

NOISE_SECONDS = 6


@dataclass(frozen=True)
class Speech:
    """An utterance: its name, its audio, and what was said where that is known; of no audio, noise."""

    name: str
    source: AudioSource | None
    text: str | None = None

    def samples(self, rate: int) -> Tensor:
        """(N,) at `rate` Hz, resampled as features of this network are."""
        if self.source is None:
            return noise(NOISE_SECONDS * rate)
        samples, own = read_audio(self.source)
        return resample(samples, own, rate)


def noise(num_samples: int) -> Tensor:
    """The same noise (N,) every time; every 50 ms at 16 kHz it has another loudness."""
    generator = torch.Generator().manual_seed(0)
    loudness = torch.rand(num_samples // 800 + 1, generator=generator).repeat_interleave(800)[:num_samples]
    return (0.3 * loudness * torch.randn(num_samples, generator=generator)).clamp(-1, 1)


def read_speech(data: Path | None, files: Sequence[Path]) -> list[Speech]:
    """The utterances of a data directory and of files; noise where there is neither.

    Raises:
        InputError: a file or a table at fault.
    """
    for file in files:
        read_header(file)
    return [*_directory(data), *(Speech(str(file), AudioSource(file)) for file in files)] or [Speech("noise", None)]


def _directory(data: Path | None) -> Iterator[Speech]:
    if data is None:
        return
    sources = read_audio_sources(data)
    if not sources:
        raise InputError(f"{data}: has no utterances")
    texts = read_table(data / "text") if (data / "text").exists() else {}
    yield from (Speech(name, source, texts.get(name)) for name, source in sources.items())
