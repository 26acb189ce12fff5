"""Which frames have the energy of speech, decided as they come: T frames, F features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

DECIBELS = 4.342944819  # of a natural logarithm of power
FLOOR_RISE = 0.03  # dB a frame by which the level of the background is forgotten upwards
PEAK_FALL = 0.01  # and that of speech downwards
ABOVE_BACKGROUND = 6.0  # dB
BELOW_SPEECH = 30.0  # dB
QUIETEST = -30.0  # dB, about 70 below a sine of full scale: no signal
WINDOW, NEEDED = 6, 4  # frames of which so many are loud in speech
SMOOTHED = 16  # frames over which the quietest place is looked for: longer than the closure of a stop


def energy(feats: Tensor, *, is_log: bool) -> Tensor:
    """Energy in dB (T,) of raw features (T, F): log-mel energies, or else samples."""
    if is_log:
        return DECIBELS * feats.logsumexp(1)
    return DECIBELS * (feats.square().mean(1) + 1e-10).log() + 40.0


class SpeechActivity:
    """A frame is loud if its energy is 6 dB above the background and within 30 dB of the loudest speech; both levels
    follow the recording slowly. Speech are frames most of whose neighbours before them are loud."""

    def __init__(self) -> None:
        self._levels: tuple[float, float] | None = None  # of background and speech
        self._loud = [False] * WINDOW

    def accept(self, energies: Tensor) -> Tensor:
        """Energies (T,) in dB -> (T,) bool."""
        return torch.tensor([self._is_speech(value) for value in energies.tolist()], dtype=torch.bool)

    def _is_speech(self, value: float) -> bool:
        background, speech = self._levels or (value, value)
        background, speech = min(background + FLOOR_RISE, value), max(speech - PEAK_FALL, value)
        self._levels = background, speech
        threshold = max(background + ABOVE_BACKGROUND, speech - BELOW_SPEECH, QUIETEST)
        self._loud = [*self._loud[1:], value > threshold]
        return sum(self._loud) >= NEEDED


def quietest(energies: Tensor) -> int:
    """The frame of energies (T,) with the least energy around it, the last of such; 0 where there are none."""
    if len(energies) == 0:
        return 0
    around = functional.pad(energies.view(1, 1, -1), (SMOOTHED // 2, SMOOTHED // 2), mode="replicate")
    smooth = functional.avg_pool1d(around, SMOOTHED, 1).flatten()[: len(energies)]
    return len(energies) - 1 - int(smooth.flip(0).argmin())


@dataclass(frozen=True)
class Part:
    """Consecutive frames: features (T, F), energies (T,) in dB, and which of them are speech (T,)."""

    feats: Tensor
    energies: Tensor
    is_speech: Tensor

    def __len__(self) -> int:
        return len(self.energies)

    def num_empty(self) -> int:
        """How many frames at its beginning hold no signal, as of a microphone that is muted. No network has seen such
        frames in training, and one that streams may not recover from them."""
        signal = (self.energies > QUIETEST).nonzero()
        return int(signal[0]) if len(signal) else len(self)


class Frames:
    """The last frames of a recording, by their numbers in it; what is not needed any more is forgotten.

    Attributes:
        first: number of the first that is there.
    """

    def __init__(self, dim: int, *, is_log: bool) -> None:
        self.first = 0
        self._is_log = is_log
        self._activity = SpeechActivity()
        self._part = Part(torch.zeros(0, dim), torch.zeros(0), torch.zeros(0, dtype=torch.bool))

    @property
    def end(self) -> int:
        """Number of the frame that comes next."""
        return self.first + len(self._part)

    def append(self, feats: Tensor) -> None:
        """More features (T, F)."""
        energies = energy(feats, is_log=self._is_log)
        own = self._part
        self._part = Part(
            torch.cat([own.feats, feats]),
            torch.cat([own.energies, energies]),
            torch.cat([own.is_speech, self._activity.accept(energies)]),
        )

    def part(self, start: int, end: int) -> Part:
        """Frames `start` to `end`."""
        inside, own = slice(start - self.first, end - self.first), self._part
        return Part(own.feats[inside], own.energies[inside], own.is_speech[inside])

    def forget(self, before: int) -> None:
        """Frames before `before`."""
        if before > self.first:
            left = self.part(before, self.end)
            self._part = Part(left.feats.clone(), left.energies.clone(), left.is_speech.clone())
            self.first = before
