"""Events on their way from the threads that decode to the event loop that serves. Of progress only the last waits."""

from __future__ import annotations

import asyncio
from collections import deque

from dualtk.serving.events import Event, Progress


class Mailbox:
    """Events of one stream; all methods are for the event loop's thread."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()

    def put(self, event: Event) -> None:
        """One more; it takes the place of progress that nobody has read."""
        if self._events and isinstance(self._events[-1], Progress):
            self._events.pop()
        self._events.append(event)
        self._filled.set()

    def __len__(self) -> int:
        return len(self._events)

    async def get(self) -> Event:
        """The next; waits for it."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()
