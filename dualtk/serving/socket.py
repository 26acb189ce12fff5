"""A live stream: a WebSocket at `/`, in the protocol of sherpa-onnx's online server (`dualtk.serving.protocol`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from dualtk.errors import InputError
from dualtk.serving.access import SUBPROTOCOL, Refusal
from dualtk.serving.context import Context
from dualtk.serving.errors import refusal_response
from dualtk.serving.events import Ended, Final, Progress
from dualtk.serving.protocol import (
    DONE,
    LAST,
    Wish,
    final_message,
    nothing_message,
    progress_message,
    read_samples,
    read_wish,
)
from dualtk.serving.rates import Allowance
from dualtk.serving.served import Served
from dualtk.serving.tasks import cancel_all
from dualtk.serving.web import WebSocket, WebSocketDisconnect

# Codes with which a socket is closed (RFC 6455, section 7.4.1).
NORMAL, UNSUPPORTED, BAD_DATA, POLICY, FAULT, RESTART = 1000, 1003, 1007, 1008, 1011, 1012
UNREAD = 200  # events that a client has not read, after which it is closed
GLANCE = 0.02  # seconds between two looks at a stream that is too far ahead

log = logging.getLogger(__name__)


class Closing(Exception):
    """The socket is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class LiveSocket:
    """One client from its request to its close."""

    def __init__(self, context: Context, socket: WebSocket) -> None:
        self._context = context
        self._limits = context.limits
        self._socket = socket
        self._allowance = Allowance(self._limits.max_messages, 5 * self._limits.max_messages)
        self._listening: float | None = None  # since when a message of the client is waited for
        self._sending: float | None = None  # since when it has not taken one

    async def serve(self) -> None:
        """Refuse the client, or serve it until it goes."""
        refusal = self._context.refusal(self._socket, is_live=True)
        wish, served = None, None
        if refusal is None:
            try:
                description = self._context.description
                wish = read_wish(self._socket.query_params, description.live_mode, self._limits.max_hotwords)
                served = self._context.scheduler.open(wish.mode, is_live=True, hotwords=wish.hotwords)
            except InputError as error:
                refusal = self._context.refused(Refusal(400, "request", str(error)))
        if wish is None or served is None:
            assert refusal is not None
            await self._socket.send_denial_response(refusal_response(refusal))
            return
        began, ending = time.monotonic(), Closing(NORMAL, "")
        self._context.metrics.count("streams_opened", mode=wish.mode)
        try:
            offered = self._socket.scope.get("subprotocols", [])
            await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await self._both(served, wish)
        except Closing as closing:
            ending = closing
        except WebSocketDisconnect as error:
            ending = Closing(error.code, "client")
        else:
            ending = Closing(RESTART, "the server is ending") if self._context.admission.is_draining else ending
        finally:
            served.leave()
            self._log(served, wish, time.monotonic() - began, ending)
        await self._close(ending)

    async def _both(self, served: Served, wish: Wish) -> None:
        """Hear and answer at once, until all is answered or one of the two fails."""
        hearing = asyncio.create_task(self._hear(served, wish))
        answering = asyncio.create_task(self._answer(served, wish))
        try:
            await self._watch([hearing, answering])
            await self._watch([answering])
        finally:
            await cancel_all([hearing, answering])

    async def _watch(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Until one of the tasks ends, or the client is idle for too long. One timer for the stream: one for each
        message would keep what it knows of it for as long as it runs."""
        loop, done = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        while not done:
            since = min((at for at in (self._listening, self._sending) if at is not None), default=loop.time())
            left = since + self._limits.max_idle - loop.time()
            if left <= 0 and since == self._sending:
                raise Closing(POLICY, "results were not read")
            if left <= 0:
                raise Closing(POLICY, f"nothing came for {self._limits.max_idle:g} seconds")
            done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _hear(self, served: Served, wish: Wish) -> None:
        """Take audio until the client is done, or the server ends."""
        loop = asyncio.get_running_loop()
        while True:
            while served.waiting_seconds > self._limits.max_ahead:
                await asyncio.sleep(GLANCE)
            self._listening = loop.time()
            message = await self._socket.receive()
            self._listening = None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", NORMAL))
            if not self._allowance.take():
                raise Closing(POLICY, f"more than {self._limits.max_messages} messages a second")
            text, content = message.get("text"), message.get("bytes")
            if text == DONE:
                served.close()
                return
            if content is None:
                raise Closing(UNSUPPORTED, f"expected 32-bit floats, or the text {DONE}")
            if served.is_closed:  # by the server, which is ending
                return
            try:
                served.push(read_samples(content), wish.rate)
            except InputError as error:
                raise Closing(BAD_DATA, str(error)) from None
            if served.pushed_seconds > self._limits.max_stream:
                raise Closing(POLICY, f"a stream has at most {self._limits.max_stream:g} seconds")

    async def _answer(self, served: Served, wish: Wish) -> None:
        """Send what was understood, to the end of the stream."""
        is_shown, has_final = set(), False
        while True:
            event = await served.mailbox.get()
            if len(served.mailbox) > UNREAD:
                raise Closing(POLICY, "results were not read")
            if isinstance(event, Ended):
                break
            if isinstance(event, Progress):
                if event.text:
                    is_shown.add(event.number)
                await self._send(progress_message(event, wish.mode))
            elif _says_something(event) or event.number in is_shown:
                has_final = True
                is_shown.discard(event.number)
                await self._send(final_message(event))
        if event.error is not None:
            raise Closing(FAULT, event.error)
        if not has_final:
            await self._send(nothing_message(wish.mode))
        await self._send(LAST)

    async def _send(self, message: str) -> None:
        self._sending = asyncio.get_running_loop().time()
        await self._socket.send_text(message)
        self._sending = None

    async def _close(self, ending: Closing) -> None:
        """Say goodbye to a client that may have gone."""
        try:
            await asyncio.wait_for(self._socket.close(ending.code, ending.reason[:120]), 1.0)
        except (asyncio.TimeoutError, RuntimeError, WebSocketDisconnect, OSError):
            return

    def _log(self, served: Served, wish: Wish, seconds: float, ending: Closing) -> None:
        """Nothing of what was said."""
        fields = {"mode": wish.mode, "seconds": round(seconds, 2), "audio_seconds": round(served.pushed_seconds, 2)}
        self._context.metrics.count("streams_closed", code=str(ending.code))
        log.info("stream", extra={"fields": {**fields, "code": ending.code, "reason": ending.reason}})


def _says_something(event: Final) -> bool:
    first = event.segment.first_pass
    return bool(event.segment.text) or (first is not None and bool(first.text))
