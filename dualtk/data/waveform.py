"""What training does to audio before it becomes features: speed, room, noise, telephone, volume.

N samples, T frames, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt
from torch import Tensor

from dualtk.data.kinds import FeaturesOptions, extract
from dualtk.data.noise import NoiseOptions
from dualtk.data.recordings import wav_table
from dualtk.data.resample import resample
from dualtk.data.rooms import RoomOptions
from dualtk.data.speeds import Speeds
from dualtk.data.telephone import TelephoneOptions
from dualtk.errors import InputError
from dualtk.options import Section, Unit


class WaveformOptions(Section):
    """What training does to audio; features are then computed from it, in every epoch anew. See `Waveform`.

    `dualtk features` makes features as ever: those of the development set, and the statistics. The training set is
    read from the audio that its wav.scp names.
    """

    start_epoch: Annotated[NonNegativeInt, Unit("epochs")] = 0
    """First epoch with any of this; alignments are learnt sooner on speech as it is."""
    speeds: Speeds = (1.0,)
    """Playing speeds, one of which is drawn for an utterance; where it would be too short or too long, 1.0 is."""
    room: RoomOptions | None = None
    """Reverberation, recorded or synthetic."""
    noise: NoiseOptions | None = None
    """Additive noise, recorded or synthetic, at a drawn ratio of powers."""
    telephone: TelephoneOptions | None = None
    """A narrow band, with a codec or without."""
    volume: Annotated[float, Field(ge=0, le=40), Unit("dB")] = 0.0
    """Largest change of level, up or down."""

    def files(self) -> dict[str, Path]:
        """The tables of recordings that are mixed in, by key."""
        named = {"room": self.room, "noise": self.noise}
        return {
            f"waveform.{key}.data": wav_table(one.data)
            for key, one in named.items()
            if one is not None and one.data is not None
        }

    def build(self, features: FeaturesOptions) -> Waveform:
        """From audio to features of these options.

        Raises:
            InputError: recordings that are not there, with the key that names them.
        """
        return Waveform(self, features)


class Waveform:
    """From the audio of an utterance to its features as one epoch has them.

    All but the speed happens at the rate of the features. With no change at all the features are those of `extract`.
    Draws follow from the generator that is given, and from nothing else.

    Args:
        options: what is changed.
        features: that are made.
    """

    def __init__(self, options: WaveformOptions, features: FeaturesOptions) -> None:
        self.features = features
        self.volume = options.volume
        rate = features.sample_rate
        self.changes = []
        for key, one in (("room", options.room), ("noise", options.noise), ("telephone", options.telephone)):
            try:
                self.changes += [] if one is None else [one.build(rate)]
            except InputError as error:
                raise InputError(f"waveform.{key}.data: {error}") from error

    def __call__(self, samples: Tensor, sample_rate: int, speed: float, random: np.random.Generator | None) -> Tensor:
        """A mono signal (N,) in [-1, 1] at `sample_rate` Hz -> its features (T, F), at `speed`.

        Without a generator nothing else is changed.
        """
        rate = self.features.sample_rate
        samples = resample(samples, round(sample_rate * speed), rate)
        if random is not None:
            for change in self.changes:
                samples = change(samples, random)
            if self.volume > 0.0:
                samples = samples * 10.0 ** (random.uniform(-self.volume, self.volume) / 20)
        return extract(samples, rate, self.features)
