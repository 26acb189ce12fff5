"""Means of what training logs."""

from __future__ import annotations

import time

from torch import Tensor

from dualtk.frames import FRAME_SECONDS


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

    def means(self) -> dict[str, float]:
        """Means, and throughput."""
        means = {key: float(value) / self.counts[key] for key, value in self.sums.items()}
        elapsed = time.monotonic() - self.began
        return {**means, "audio_per_second": self.frames * FRAME_SECONDS / max(elapsed, 1e-9)}
