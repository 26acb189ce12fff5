"""Files by HTTP: POST `/v1/audio/transcriptions`, in the form of OpenAI's API."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from dualtk.data.audio import said_seconds
from dualtk.data.live import file_pieces
from dualtk.errors import InputError
from dualtk.serving.access import Refusal
from dualtk.serving.context import Context
from dualtk.serving.errors import error_response, refusal_response
from dualtk.serving.events import Ended, Event, Final, Progress
from dualtk.serving.request import FieldError, FileWish, read_file_wish
from dualtk.serving.response import delta, done, failed, respond
from dualtk.serving.served import Served
from dualtk.serving.upload import AUDIO, Refused, uploaded
from dualtk.serving.web import ClientDisconnect, Request, Response, StreamingResponse
from dualtk.transcript import Result, Segment

PIECE_SECONDS = 1.0  # of a file that are read at once
GLANCE = 0.05  # seconds between two looks at a stream that is too far ahead
DISCONNECT = 1.0  # seconds between two looks whether the client is still there

log = logging.getLogger(__name__)


class Gone(Exception):
    """The client does not wait any more."""


class Transcription:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, request: Request) -> Response:
        """Transcribe the file of a form."""
        refusal = self._context.refusal(request, is_live=False)
        if refusal is not None:
            return refusal_response(refusal)
        async with AsyncExitStack() as stack:
            try:
                return await self._respond(request, stack)
            except FieldError as error:
                self._context.refused(Refusal(400, "request", str(error)))
                return error_response(400, str(error), "invalid_value", error.field)
            except Refused as refused:
                return refusal_response(self._context.refused(refused.refusal))
            except InputError as error:
                self._context.refused(Refusal(400, "audio", _said(error)))
                return error_response(400, _said(error), "audio", "file")
            except (Gone, ClientDisconnect):
                return Response(status_code=499)

    async def _respond(self, request: Request, stack: AsyncExitStack) -> Response:
        form, path = await stack.enter_async_context(uploaded(request, self._context.limits))
        if path is None:
            raise FieldError("file", "is missing")
        description = self._context.description
        wish = read_file_wish(form, description.modes, description.file_mode)
        await asyncio.to_thread(_check_duration, path, self._context.limits.max_duration)
        # While the form came, others may have come first.
        if (standing := self._context.admission.standing(is_live=False)) is not None:
            raise Refused(standing)
        served = self._context.scheduler.open(wish.mode, is_live=False)
        stack.callback(served.leave)
        feeding = asyncio.create_task(asyncio.to_thread(self._feed, served, path))
        feeding.add_done_callback(lambda task: _tell_fault(task, served))
        stack.push_async_callback(_ended, feeding, served)
        if wish.is_streamed:
            # The response outlives this call: what it reads is closed by it.
            return StreamingResponse(self._events(served, feeding, stack.pop_all()), media_type="text/event-stream")
        result = await self._result(request, served, wish, feeding)
        return respond(result, wish, description.language)

    def _feed(self, served: Served, path: Path) -> None:
        """The file, piece by piece, no faster than it is decoded. On a thread of its own."""
        limits = self._context.limits
        for samples, rate in file_pieces(path, PIECE_SECONDS):
            while served.waiting_seconds > limits.max_ahead + _longest(served):
                if served.is_left:
                    return
                time.sleep(GLANCE)
            served.push(samples, rate)
            if served.pushed_seconds > limits.max_duration:
                raise Refused(_too_long(limits.max_duration))
        served.close()

    async def _next(self, served: Served, feeding: asyncio.Task[None], request: Request | None = None) -> Event:
        """The next event of a stream whose file can be read, for a client that is there."""
        while True:
            try:
                event = await asyncio.wait_for(served.mailbox.get(), DISCONNECT)
            except asyncio.TimeoutError:
                if request is not None and await request.is_disconnected():
                    raise Gone from None
                continue
            if isinstance(event, Ended) and feeding.done():
                feeding.result()
            return event

    async def _result(self, request: Request, served: Served, wish: FileWish, feeding: asyncio.Task[None]) -> Result:
        began, segments = time.monotonic(), list[Segment]()
        while not isinstance(event := await self._next(served, feeding, request), Ended):
            if isinstance(event, Final) and event.segment.text:
                segments.append(event.segment)
        self._log(served, wish.mode, time.monotonic() - began, event)
        if event.error is not None:
            raise InputError(event.error)
        return Result(wish.mode, segments, served.pushed_seconds)

    async def _events(self, served: Served, feeding: asyncio.Task[None], stack: AsyncExitStack) -> AsyncIterator[str]:
        """Server-sent events: text that goes on, and all of it at the end."""
        async with stack:
            began, told = time.monotonic(), Told()
            try:
                while not isinstance(event := await self._next(served, feeding), Ended):
                    if more := told.more(event):
                        yield delta(more)
                self._log(served, served.stream.mode, time.monotonic() - began, event)
                yield done(told.text) if event.error is None else failed(event.error)
            except (InputError, Refused) as error:
                yield failed(_said(error))

    def _log(self, served: Served, mode: str, seconds: float, ended: Ended) -> None:
        self._context.metrics.count("files", mode=mode)
        fields = {"mode": mode, "seconds": round(seconds, 2), "audio_seconds": round(served.pushed_seconds, 2)}
        log.info("file", extra={"fields": {**fields, "error": ended.error}})


class Told:
    """Text that has been sent: it is only ever added to, so what may still change waits.

    Attributes:
        text: the last text of all segments.
    """

    def __init__(self) -> None:
        self.text = ""
        self._sent = ""

    def more(self, event: Event) -> str:
        """What can be sent after an event."""
        if isinstance(event, Final):
            self.text = _joined(self.text, event.segment.text)
            whole = self.text
        elif isinstance(event, Progress):
            whole = _joined(self.text, event.text)
        else:
            return ""
        if not whole.startswith(self._sent):
            return ""
        more, self._sent = whole[len(self._sent) :], whole
        return more


def _said(error: Exception) -> str:
    """Of the client's file, whatever it is called here."""
    return re.sub(rf"^\S*/{AUDIO}: ", "the file ", str(error))


def _joined(text: str, more: str) -> str:
    return f"{text} {more}" if text and more else text or more


def _longest(served: Served) -> float:
    """Seconds of audio that a segment may need before it can be decoded whole."""
    return served.stream.recognizer.endpoints.rule3_min_utterance_length


def _too_long(seconds: float) -> Refusal:
    return Refusal(413, "too_long", f"a file has at most {seconds:g} seconds of audio")


def _check_duration(path: Path, most: float) -> None:
    """Refuse a file that says itself that it is too long; others are stopped when they are."""
    if (said_seconds(path) or 0.0) > most:
        raise Refused(_too_long(most))


def _tell_fault(feeding: asyncio.Task[None], served: Served) -> None:
    """Whoever waits for an event looks what was wrong with the file."""
    if not feeding.cancelled() and feeding.exception() is not None:
        served.mailbox.put(Ended())


async def _ended(feeding: asyncio.Task[None], served: Served) -> None:
    """The thread that reads a file ends before the file goes."""
    served.leave()
    await asyncio.gather(feeding, return_exceptions=True)
