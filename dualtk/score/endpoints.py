"""Where speech begins and ends: from a CTM of word times, or an energy estimate that says it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualtk.ctm import Word
from dualtk.frames import FRAME_SECONDS

SILENCES = frozenset({"<eps>", "<sil>", "sil", "<silence>", "!sil"})
FROM_CTM = "ctm"
FROM_ENERGY = "energy estimate"

WINDOW_SECONDS = 0.025
BELOW_PEAK_DB = 35.0  # speech is assumed to stay within this of its loudest frames ...
ABOVE_FLOOR_DB = 8.0  # ... and to stand out from the quietest by this
SHORTEST_FRAMES = 5  # a shorter burst is a click


@dataclass(frozen=True)
class Endpoints:
    """Seconds from the start of the audio at which speech begins and ends."""

    start: float
    end: float


def spoken(words: Sequence[Word]) -> list[Word]:
    """The words of a CTM without its marks of silence."""
    return [word for word in words if word.word.lower() not in SILENCES]


def endpoints_from_ctm(ctm: Mapping[str, Sequence[Word]]) -> dict[str, Endpoints]:
    """First word's start and last word's end of each utterance that has words."""
    found = {}
    for utterance, words in ctm.items():
        speech = spoken(words)
        if speech:
            found[utterance] = Endpoints(min(word.start for word in speech), max(word.end for word in speech))
    return found


def _energies(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Level of each frame in dB (25 ms every 10 ms), mean removed."""
    window, shift = round(WINDOW_SECONDS * sample_rate), round(FRAME_SECONDS * sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), window)[::shift]
    return np.asarray(10.0 * np.log10(frames.var(axis=1) + 1e-10))


def estimate_endpoints(samples: NDArray[np.float32], sample_rate: int) -> Endpoints:
    """An estimate of the endpoints from energy alone.

    A frame counts as speech within 35 dB of the 95th percentile of levels and 8 dB above the 5th, in runs of at least
    five frames. Faint last consonants are lost, and noise after the end is taken for speech.

    Args:
        samples: (N,) mono audio, samples in [-1, 1].
        sample_rate: in Hz.
    """
    duration = len(samples) / sample_rate
    if len(samples) < round(WINDOW_SECONDS * sample_rate):
        return Endpoints(0.0, duration)
    level = _energies(samples, sample_rate)
    quiet, loud = np.percentile(level, [5.0, 95.0])
    active = level > min(max(loud - BELOW_PEAK_DB, quiet + ABOVE_FLOOR_DB), loud)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    runs = [(first, last) for first, last in zip(edges[::2], edges[1::2]) if last - first >= SHORTEST_FRAMES]
    if not runs:
        return Endpoints(0.0, duration)
    half = WINDOW_SECONDS / 2  # a frame is dated by its centre
    start, end = runs[0][0] * FRAME_SECONDS + half, (runs[-1][1] - 1) * FRAME_SECONDS + half
    return Endpoints(float(start), float(min(end, duration)))
