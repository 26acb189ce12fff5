"""Log-mel filterbank features by Kaldi's recipe. N samples, T frames, F mels."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from dualtk.data.audio import SampleRate
from dualtk.data.mel import LogMel
from dualtk.data.resample import resample
from dualtk.data.speeds import Speeds
from dualtk.data.storage import Source, Storage
from dualtk.errors import InputError
from dualtk.frames import FRAME_REACH_SECONDS, FRAME_SECONDS
from dualtk.options import Section, Unit

WINDOW_SECONDS = 0.025
PIECE = 1 << 12  # frames computed at once: bounds the memory that hours of audio take


class FbankOptions(Section):
    """Log-mel energies, 10 ms a frame; what is not configurable is said at `fbank`."""

    kind: Literal["fbank"] = "fbank"
    """Log-mel energies."""
    num_mels: Annotated[int, Field(ge=1, le=256), Unit("mel bins")] = 80
    """Dimension of a frame."""
    sample_rate: SampleRate = 16000
    """Rate that audio of another rate is resampled to."""
    low_frequency: Annotated[NonNegativeFloat, Unit("Hz")] = 20.0
    """Lower edge of the lowest mel bin."""
    high_frequency: Annotated[PositiveFloat, Unit("Hz")] = 7600.0
    """Upper edge of the highest mel bin; at most half the sample rate."""
    speeds: Speeds = (1.0,)
    """Playing speeds at which every utterance of the training set is extracted."""
    source: Source = "stored"
    """Of the training set's features: archives of stage 1, or the audio itself, from which the loader computes them."""
    cmvn_utterances: Annotated[PositiveInt, Unit("utterances")] = 20000
    """With `source: audio`, mean and variance are those of so many of the training set, drawn at random, or of all."""
    storage: Storage = "float32"
    """Numbers of stored features: 4 bytes each, 2 or 1 (Kaldi's compressed matrices)."""

    @model_validator(mode="after")
    def _range_fits(self) -> FbankOptions:
        if not self.low_frequency < self.high_frequency <= self.sample_rate / 2:
            raise ValueError(
                f"mel range {self.low_frequency}..{self.high_frequency} Hz does not fit "
                f"a sample rate of {self.sample_rate} Hz"
            )
        return self

    @property
    def dim(self) -> int:
        """F."""
        return self.num_mels

    @property
    def reach(self) -> float:
        """Seconds from the start of a frame to the end of the audio that it covers."""
        return FRAME_REACH_SECONDS

    @property
    def label(self) -> str:
        """A name for a folder of such features: `fbank80`, or `fbank80-8000hz-20-3800`, `fbank80-one_byte`."""
        edges = [repr(edge).removesuffix(".0") for edge in (self.low_frequency, self.high_frequency)]
        band = [] if self.has_usual_band else [f"{self.sample_rate}hz", *edges]
        return "-".join([f"fbank{self.num_mels}", *band, *([] if self.storage == "float32" else [self.storage])])

    @property
    def has_usual_band(self) -> bool:
        """Whether rate and edges are those that sherpa-onnx has."""
        band = ("sample_rate", "low_frequency", "high_frequency")
        return all(getattr(self, key) == type(self).model_fields[key].default for key in band)


DEFAULT_OPTIONS = FbankOptions()


@lru_cache(maxsize=8)
def log_mel_of(options: FbankOptions) -> LogMel:
    """What turns windows of audio into the features of these options."""
    rate = options.sample_rate
    return LogMel(int(rate * WINDOW_SECONDS), options.num_mels, rate, options.low_frequency, options.high_frequency)


def fbank(samples: Tensor, sample_rate: int, options: FbankOptions = DEFAULT_OPTIONS, speed: float = 1.0) -> Tensor:
    """Natural-log mel energies of a mono signal, (N,) in [-1, 1] -> (T, F) float32.

    25 ms Povey window every 10 ms, pre-emphasis 0.97, DC removed, power spectrum, no dither, floor 1.19e-7,
    snip_edges False (T = N / shift rounded, edges reflected): what sherpa-onnx computes with its defaults.

    Args:
        samples: the signal.
        sample_rate: of the signal in Hz; resampled to `options.sample_rate` if it differs.
        options: what is configurable.
        speed: playing speed (Ko et al., Audio augmentation for speech recognition, 2015): 0.9 is slower and lower.
            It is folded into the same resampling.

    Raises:
        InputError: fewer samples than one window.
    """
    samples = resample(samples, round(sample_rate * speed), options.sample_rate)
    log_mel = log_mel_of(options)
    shift, size = int(options.sample_rate * FRAME_SECONDS), log_mel.size
    count, before = fbank_frames(len(samples), options), size // 2 - shift // 2
    padded = torch.cat([samples[:before].flip(0), samples, samples[-size:].flip(0)])
    windows = padded.to(torch.float32).unfold(0, size, shift)[:count]
    return torch.cat([log_mel(windows[start : start + PIECE]) for start in range(0, count, PIECE)])


def fbank_frames(num_samples: int, options: FbankOptions = DEFAULT_OPTIONS) -> int:
    """T of so many samples at the rate of the features.

    Raises:
        InputError: fewer than one window.
    """
    if num_samples < WINDOW_SECONDS * options.sample_rate:
        raise InputError(f"{num_samples / options.sample_rate:.4f} s of audio is shorter than one window of 25 ms")
    shift = int(options.sample_rate * FRAME_SECONDS)
    return (num_samples + shift // 2) // shift
