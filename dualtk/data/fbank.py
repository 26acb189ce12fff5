"""Log-mel filterbank features: Kaldi's recipe as torchaudio computes it. N samples, T frames, F mels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchaudio.compliance.kaldi as kaldi
import torchaudio.functional
from torch import Tensor

from dualtk.errors import InputError

WINDOW_SECONDS = 0.025
SHIFT_SECONDS = 0.010


@dataclass(frozen=True)
class FbankOptions:
    """Parameters of the features; frequencies in Hz. The rest is fixed: see `fbank`."""

    num_mels: int = 80
    sample_rate: int = 16000
    low_frequency: float = 20.0
    high_frequency: float = 7600.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_mels <= 256:
            raise InputError(f"num_mels must lie in 1..256, not {self.num_mels}")
        if not 0 <= self.low_frequency < self.high_frequency <= self.sample_rate / 2:
            raise InputError(
                f"mel range {self.low_frequency}..{self.high_frequency} Hz does not fit "
                f"a sample rate of {self.sample_rate} Hz"
            )

    @property
    def dim(self) -> int:
        """F."""
        return self.num_mels


DEFAULT_OPTIONS = FbankOptions()


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
    source_rate = round(sample_rate * speed)
    if source_rate != options.sample_rate:
        samples = torchaudio.functional.resample(samples, source_rate, options.sample_rate)
    if len(samples) < WINDOW_SECONDS * options.sample_rate:
        raise InputError(f"{len(samples) / options.sample_rate:.4f} s of audio is shorter than one window of 25 ms")
    feats: Tensor = kaldi.fbank(
        samples.unsqueeze(0),
        num_mel_bins=options.num_mels,
        sample_frequency=float(options.sample_rate),
        frame_length=WINDOW_SECONDS * 1000,
        frame_shift=SHIFT_SECONDS * 1000,
        low_freq=options.low_frequency,
        high_freq=options.high_frequency,
        window_type="povey",
        preemphasis_coefficient=0.97,
        remove_dc_offset=True,
        dither=0.0,
        snip_edges=False,
        use_power=True,
        use_log_fbank=True,
        use_energy=False,
    )
    return feats.to(torch.float32)
