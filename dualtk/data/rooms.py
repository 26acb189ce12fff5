"""Speech as it sounds in a room. N samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dualtk.data.recordings import RecordingError, Recordings, power
from dualtk.options import Decibels, Durations, Probability, Section


class RoomOptions(Section):
    """Reverberation; see `Room`."""

    data: Path | None = None
    """Data directory of room impulse responses (`wav.scp`); null for synthetic rooms."""
    probability: Probability = 0.3
    """Of an utterance to be put into a room in an epoch."""
    reverberation: Durations = (0.1, 0.6)
    """Shortest and longest time in which the sound of a synthetic room falls by 60 dB."""
    direct: Decibels = (0.0, 12.0)
    """Lowest and highest ratio of the energies of direct and reflected sound in a synthetic room."""

    def build(self, sample_rate: int) -> Room:
        """The rooms for signals of `sample_rate` Hz."""
        return Room(**self.arguments(), sample_rate=sample_rate)


def synthetic_response(sample_rate: int, reverberation: float, direct: float, random: np.random.Generator) -> Tensor:
    """The response (N,) of a room: direct sound, then Gaussian noise that decays exponentially.

    That is what reflections come to be where they are dense (Polack, La transmission de l'energie sonore dans les
    salles, 1988); single early reflections are not modelled.

    Args:
        sample_rate: in Hz.
        reverberation: seconds until the energy has fallen by 60 dB.
        direct: energy of the direct sound over that of all others, in dB.
        random: what is drawn from.
    """
    length = max(2, round(reverberation * sample_rate))
    decay = 10.0 ** (-3.0 * np.arange(1, length) / (reverberation * sample_rate))
    tail = random.standard_normal(length - 1) * decay
    tail *= (10.0 ** (-direct / 10) / np.square(tail).sum()) ** 0.5
    return torch.from_numpy(np.concatenate([[1.0], tail])).float()


def reverberate(samples: Tensor, response: Tensor) -> Tensor:
    """A signal (N,) in the room of an impulse response (M,): as long, as loud, and with its direct sound in place."""
    onset = int(response.abs().argmax())
    size = 1 << (len(samples) + len(response) - 2).bit_length()
    spectrum = np.fft.rfft(samples.double().numpy(), size) * np.fft.rfft(response.double().numpy(), size)
    wet: Tensor = torch.from_numpy(np.fft.irfft(spectrum, size)[onset : onset + len(samples)])
    there = power(wet)
    if there == 0.0:
        return samples
    loudness: float = (power(samples) / there) ** 0.5
    return (wet * loudness).float()


class Room:
    """Convolves an utterance with an impulse response, recorded or drawn.

    Args:
        data: see `Recordings`.
        probability: of an utterance.
        reverberation, direct: intervals for `synthetic_response`.
        sample_rate: of the signals, in Hz.
    """

    def __init__(
        self,
        data: Path | None,
        probability: float,
        reverberation: tuple[float, float],
        direct: tuple[float, float],
        *,
        sample_rate: int,
    ) -> None:
        self.recordings = None if data is None else Recordings(data, sample_rate)
        self.probability, self.sample_rate = probability, sample_rate
        self.reverberation, self.direct = reverberation, direct

    def __call__(self, samples: Tensor, random: np.random.Generator) -> Tensor:
        """A signal (N,) -> the same in a room, (N,).

        Raises:
            InputError: a response that is all zero.
        """
        if random.random() >= self.probability:
            return samples
        seconds, direct = random.uniform(*self.reverberation), random.uniform(*self.direct)
        if self.recordings is None:
            return reverberate(samples, synthetic_response(self.sample_rate, seconds, direct, random))
        response = self.recordings.draw(random)
        if power(response) == 0.0:
            raise RecordingError("waveform.room.data: an impulse response is all zero")
        return reverberate(samples, response)
