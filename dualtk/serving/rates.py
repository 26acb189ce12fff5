"""How often something may happen."""

from __future__ import annotations

import time
from collections import OrderedDict

ADDRESSES = 10_000  # that are remembered


class Allowance:
    """So many a second on average, and `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """Whether one more is within it."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Allowances:
    """One for each address; those that were longest not seen are forgotten."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._known: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether one more of this address is within its own."""
        if self._per_minute == 0:
            return True
        own = self._known.pop(address, None) or Allowance(self._per_minute / 60, self._per_minute)
        self._known[address] = own
        if len(self._known) > ADDRESSES:
            self._known.popitem(last=False)
        return own.take()
