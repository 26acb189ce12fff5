"""Figures of a server, as text for Prometheus. Any thread may count."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator

BOUNDS = (0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.24, 0.32, 0.64, 1.28, 2.56)  # seconds
RECENT = 10.0  # seconds over which percentiles are taken
FEWEST = 20  # latencies that tell something
MOST = 20_000  # latencies that are kept for them


class Latencies:
    """From the arrival of the audio that completes a chunk to its result, in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self._recent: deque[tuple[float, float]] = deque(maxlen=MOST)  # when, seconds

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.sum += seconds
        self.buckets[sum(bound < seconds for bound in BOUNDS)] += 1
        self._recent.append((time.monotonic(), seconds))

    def recent(self) -> list[float]:
        """Those of the last seconds, in order of size."""
        begin = time.monotonic() - RECENT
        while self._recent and self._recent[0][0] < begin:
            self._recent.popleft()
        return sorted(seconds for _, seconds in self._recent)


def percentile(ordered: list[float], share: float) -> float:
    """The value that `share` of the ordered values do not exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Metrics:
    """What a server counts.

    Attributes:
        gauges: by name, what stands now.
    """

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}
        self._counts: defaultdict[tuple[str, str], float] = defaultdict(float)  # name, labels
        self._latencies = Latencies()
        self._lock = threading.Lock()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
        with self._lock:
            self._counts[name, shown] += amount

    def value(self, name: str) -> float:
        """A counter, over all its labels."""
        with self._lock:
            return sum(amount for (own, _), amount in self._counts.items() if own == name)

    def took(self, seconds: float) -> None:
        """A chunk of a live stream was decoded `seconds` after it had come."""
        with self._lock:
            self._latencies.add(seconds)

    def chunk_latency(self, share: float) -> float:
        """A percentile of the last seconds; 0 where there are too few to tell."""
        with self._lock:
            recent = self._latencies.recent()
        return percentile(recent, share) if len(recent) >= FEWEST else 0.0

    def text(self) -> str:
        """In Prometheus' text format."""
        with self._lock:
            return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        for name in sorted({name for name, _ in self._counts}):
            yield f"# TYPE dualtk_{name}_total counter"
            for (own, labels), amount in sorted(self._counts.items()):
                if own == name:
                    yield f"dualtk_{name}_total{{{labels}}} {amount:g}" if labels else f"dualtk_{name}_total {amount:g}"
        for name, value in sorted(self.gauges.items()):
            yield f"# TYPE dualtk_{name} gauge"
            yield f"dualtk_{name} {value:g}"
        yield "# TYPE dualtk_chunk_latency_seconds histogram"
        below = 0
        for limit, number in zip((*map(str, BOUNDS), "+Inf"), self._latencies.buckets):
            below += number
            yield f'dualtk_chunk_latency_seconds_bucket{{le="{limit}"}} {below}'
        yield f"dualtk_chunk_latency_seconds_sum {self._latencies.sum:g}"
        yield f"dualtk_chunk_latency_seconds_count {self._latencies.count}"
        yield "# TYPE dualtk_chunk_latency_recent_seconds gauge"
        recent = self._latencies.recent()
        for share in (0.5, 0.9, 0.95, 0.99):
            yield f'dualtk_chunk_latency_recent_seconds{{quantile="{share}"}} {percentile(recent, share):g}'
