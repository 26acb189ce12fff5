"""Whether a server takes one more stream or file."""

from __future__ import annotations

from dualtk.serving.access import Refusal
from dualtk.serving.limits import Limits
from dualtk.serving.metrics import Metrics
from dualtk.serving.rates import Allowances
from dualtk.serving.scheduler import Scheduler

RETRY = 5  # seconds


class Admission:
    """Refuses new streams before old ones would come late."""

    def __init__(self, scheduler: Scheduler, limits: Limits, metrics: Metrics) -> None:
        self.is_draining = False
        self._scheduler = scheduler
        self._limits = limits
        self._metrics = metrics
        self._allowances = Allowances(limits.max_openings)

    def standing(self, *, is_live: bool) -> Refusal | None:
        """Why nobody would be served now, or None."""
        if self.is_draining:
            return Refusal(503, "draining", "the server is ending", RETRY)
        most = self._limits.max_streams if is_live else self._limits.max_uploads
        if self._scheduler.count(is_live=is_live) >= most:
            what = "streams" if is_live else "files"
            return Refusal(503, f"too_many_{what}", f"{most} {what} are being transcribed, as many as may be", RETRY)
        has_live = self._scheduler.count(is_live=True) > 0
        if has_live and self._metrics.chunk_latency(0.95) > self._limits.max_latency * self._scheduler.chunk_seconds:
            return Refusal(503, "overloaded", "the server has as much to do as it can", RETRY)
        return None

    def refusal(self, address: str, *, is_live: bool) -> Refusal | None:
        """Why this address is not served now, or None."""
        if not self._allowances.take(address):
            return Refusal(429, "rate", f"more than {self._limits.max_openings} requests a minute", 60)
        return self.standing(is_live=is_live)
