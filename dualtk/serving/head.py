"""HTTP whose clients send the head of a request in time: uvicorn waits for it as long as they like."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from dualtk.serving.web import IDLE, H11Protocol

LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def head_within(seconds: float) -> type[HeadInTime]:
    """The protocol of connections whose heads come in so many seconds, for uvicorn's `http`."""

    class Limited(HeadInTime):
        max_header = seconds

    return Limited


class HeadInTime(H11Protocol):
    """One connection. A client that has not sent the whole head of a request in time is closed.

    Attributes:
        max_header: seconds.
    """

    max_header: ClassVar[float]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head: asyncio.TimerHandle | None = None  # runs while a head is waited for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has come."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Something of a head, or of what follows it."""
        super().data_received(data)
        if self.conn.their_state is IDLE and not self.transport.is_closing():
            self._wait()
        else:
            self._stop()

    def connection_lost(self, error: Exception | None) -> None:
        """It has gone."""
        self._stop()
        super().connection_lost(error)

    def _wait(self) -> None:
        self._head = self._head or self.loop.call_later(self.max_header, self._late)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late(self) -> None:
        self._head = None
        self.transport.write(LATE)
        self.transport.close()
