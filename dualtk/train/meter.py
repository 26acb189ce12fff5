"""Means of what training logs."""

from __future__ import annotations

import time

from torch import Tensor

from dualtk.frames import FRAME_SECONDS
from dualtk.train.distributed import World


class Meter:
    """Means of named values since the last log line, and audio seconds per second."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}
        self.frames = 0
        self.began = time.monotonic()

    def add(self, values: dict[str, Tensor | float], frames: int = 0) -> None:
        """Values of one batch of so many feature frames; a value may be absent from some batches."""
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1
        self.frames += frames

    def means(self, world: World) -> dict[str, float]:
        """Means over all processes, and the throughput of all; each of them has to ask."""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        frames = 0
        for one in world.gather(({key: float(value) for key, value in self.sums.items()}, self.counts, self.frames)):
            frames += one[2]
            for key, value in one[0].items():
                sums[key] = sums.get(key, 0.0) + value
                counts[key] = counts.get(key, 0) + one[1][key]
        means = {key: value / counts[key] for key, value in sums.items()}
        elapsed = time.monotonic() - self.began
        return {**means, "audio_per_second": frames * FRAME_SECONDS / max(elapsed, 1e-9)}
