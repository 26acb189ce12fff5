"""Raw audio as features: a frame is the 160 samples of 10 ms.

Archives, batches, sessions and decoding stay as they are for a network that reads samples itself (wav2vec 2.0).
N samples, T frames, F samples of a frame.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional

from dualtk.data.audio import SampleRate, check_piece
from dualtk.data.resample import StreamingResampler, resample
from dualtk.data.speeds import Speeds
from dualtk.data.storage import Source
from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS, FRAMES_PER_SECOND
from dualtk.options import Section, Unit


class SampleOptions(Section):
    """Raw samples, 10 ms a frame."""

    kind: Literal["samples"] = "samples"
    """Raw samples, for a network that has an extractor of its own (wav2vec 2.0)."""
    sample_rate: SampleRate = 16000
    """Rate that audio of another rate is resampled to; a multiple of 100."""
    speeds: Speeds = (1.0,)
    """Playing speeds at which every utterance of the training set is extracted."""
    source: Source = "stored"
    """Of the training set's samples: archives of stage 1, or the audio itself, which the loader reads."""
    cmvn_utterances: Annotated[PositiveInt, Unit("utterances")] = 20000
    """With `source: audio`, mean and variance are those of so many of the training set, drawn at random, or of all."""
    storage: Literal["float32", "two_bytes"] = "float32"
    """Numbers of stored samples: 4 bytes each or 2 (one of Kaldi's compressed matrices)."""

    @model_validator(mode="after")
    def _whole_frames(self) -> SampleOptions:
        if self.sample_rate % FRAMES_PER_SECOND:
            raise ValueError(f"a sample rate of {self.sample_rate} Hz has no whole number of samples in 10 ms")
        return self

    @property
    def dim(self) -> int:
        """Samples of a frame."""
        return self.sample_rate // FRAMES_PER_SECOND

    @property
    def reach(self) -> float:
        """Seconds from the start of a frame to the end of the audio that it covers."""
        return FRAME_SECONDS

    @property
    def label(self) -> str:
        """A name for a folder of such features: `samples-16000hz`."""
        return f"samples-{self.sample_rate}hz" + ("" if self.storage == "float32" else f"-{self.storage}")


def sample_frames(samples: Tensor, sample_rate: int, options: SampleOptions, speed: float = 1.0) -> Tensor:
    """A mono signal (N,) in [-1, 1] at `sample_rate` Hz -> its samples (T, F) float32, zeros at the end.

    `speed` is as in `dualtk.data.fbank.fbank`.

    Raises:
        InputError: no samples.
    """
    samples = resample(samples, round(sample_rate * speed), options.sample_rate)
    num_sample_frames(len(samples), options)
    return functional.pad(samples.to(torch.float32), (0, -len(samples) % options.dim)).view(-1, options.dim)


def num_sample_frames(num_samples: int, options: SampleOptions) -> int:
    """T of so many samples at the rate of the features.

    Raises:
        InputError: no samples.
    """
    if num_samples == 0:
        raise InputError("no audio")
    return -(-num_samples // options.dim)


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
        waiting = torch.cat([self._rest, samples])
        whole = len(waiting) // self.options.dim * self.options.dim
        self._rest = waiting[whole:].clone()
        return waiting[:whole].view(-1, self.options.dim)

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
