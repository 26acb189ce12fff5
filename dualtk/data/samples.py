"""Raw audio as features: a frame is the 160 samples of 10 ms.

Archives, batches, sessions and decoding stay as they are for a network that reads samples itself (wav2vec 2.0).
N samples, T frames, F samples of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchaudio.functional
from torch import Tensor
from torch.nn import functional

from dualtk.data.audio import check_piece
from dualtk.data.resample import StreamingResampler
from dualtk.errors import InputError

FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class SampleOptions:
    """What decides the frames: the rate in Hz that audio is resampled to."""

    sample_rate: int = 16000

    def __post_init__(self) -> None:
        if self.sample_rate < FRAMES_PER_SECOND or self.sample_rate % FRAMES_PER_SECOND:
            raise InputError(f"a sample rate of {self.sample_rate} Hz has no whole number of samples in 10 ms")

    @property
    def dim(self) -> int:
        """Samples of a frame."""
        return self.sample_rate // FRAMES_PER_SECOND


def sample_frames(samples: Tensor, sample_rate: int, options: SampleOptions, speed: float = 1.0) -> Tensor:
    """A mono signal (N,) in [-1, 1] at `sample_rate` Hz -> its samples (T, F) float32, zeros at the end.

    `speed` is as in `dualtk.data.fbank.fbank`.

    Raises:
        InputError: no samples.
    """
    source_rate = round(sample_rate * speed)
    if source_rate != options.sample_rate:
        samples = torchaudio.functional.resample(samples, source_rate, options.sample_rate)
    if len(samples) == 0:
        raise InputError("no audio")
    return functional.pad(samples.to(torch.float32), (0, -len(samples) % options.dim)).view(-1, options.dim)


class SampleStream:
    """Sample frames of one stream; together they are those of `sample_frames` on the whole signal.

    Args:
        options: of the features that the network was trained on.
    """

    def __init__(self, options: SampleOptions) -> None:
        self.options = options
        self._rate: int | None = None
        self._resampler: StreamingResampler | None = None
        self._rest = torch.zeros(0)

    def accept(self, samples: Tensor, sample_rate: int) -> Tensor:
        """Samples (N,) in [-1, 1] at `sample_rate` Hz -> the frames (T, F) that they complete, T from 0.

        Raises:
            InputError: as `dualtk.data.stream.FbankStream.accept`; the stream is as it was.
        """
        check_piece(samples, sample_rate, self._rate)
        if self._resampler is None:
            self._rate, self._resampler = sample_rate, StreamingResampler(sample_rate, self.options.sample_rate)
        return self._frames(self._resampler.accept(samples.to(torch.float32)))

    def finish(self) -> Tensor:
        """The last frames (T, F): no more samples will come."""
        last = torch.zeros(0) if self._resampler is None else self._resampler.finish()
        whole = self._frames(last)
        rest, self._rest = self._rest, torch.zeros(0)
        if len(rest) == 0:
            return whole
        return torch.cat([whole, functional.pad(rest, (0, self.options.dim - len(rest))).unsqueeze(0)])

    def _frames(self, samples: Tensor) -> Tensor:
        """The frames that `samples` complete; keeps the rest."""
        heard = torch.cat([self._rest, samples])
        whole = len(heard) // self.options.dim * self.options.dim
        self._rest = heard[whole:].clone()
        return heard[:whole].view(-1, self.options.dim)

    def save(self) -> dict[str, Any]:
        """Tensors and numbers that `restore` takes."""
        return {
            "rate": self._rate,
            "resampler": None if self._resampler is None else self._resampler.save(),
            "rest": self._rest,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where another stream with the same options was saved."""
        self._rate, self._resampler, self._rest = saved["rate"], None, saved["rest"]
        if self._rate is not None:
            self._resampler = StreamingResampler(self._rate, self.options.sample_rate)
            self._resampler.restore(saved["resampler"])
