"""The server: what answers at which address."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

from dualtk.recognizer import Recognizer
from dualtk.serving.access import Access
from dualtk.serving.admission import Admission
from dualtk.serving.context import Context
from dualtk.serving.description import Description
from dualtk.serving.errors import error_response, refusal_response
from dualtk.serving.limits import Limits
from dualtk.serving.metrics import Metrics
from dualtk.serving.page import page_routes
from dualtk.serving.scheduler import Scheduler
from dualtk.serving.socket import LiveSocket
from dualtk.serving.transcription import Transcription
from dualtk.serving.web import (
    HTTPException,
    JSONResponse,
    PlainTextResponse,
    Request,
    Response,
    Route,
    Starlette,
    WebSocket,
    WebSocketRoute,
)


class Application:
    """A server over one network. Its ASGI application is `asgi`; `context` is there while it runs.

    Args:
        recognizer: of live streams, and files in one of their modes.
        whole: of whole utterances alone.
        description: of the network.
        access: who may use it.
        limits: what it takes.
        threads: that step streams.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        whole: Recognizer,
        description: Description,
        access: Access,
        limits: Limits,
        threads: int,
    ) -> None:
        self.context: Context | None = None
        self._make_scheduler: Callable[[Metrics], Scheduler] = lambda metrics: Scheduler(
            recognizer, whole, metrics, threads
        )
        self._description = description
        self._access = access
        self._limits = limits
        self._started = int(time.time())
        self.asgi = Starlette(
            routes=[
                *page_routes(),
                WebSocketRoute("/", self._live),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Route("/about", self._about, methods=["GET"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"]),
            ],
            lifespan=self._run,
            exception_handlers={HTTPException: _http_error, Exception: _fault},
        )

    @asynccontextmanager
    async def _run(self, application: Starlette) -> AsyncIterator[None]:
        metrics = Metrics()
        scheduler = self._make_scheduler(metrics)
        admission = Admission(scheduler, self._limits, metrics)
        self.context = Context(self._description, scheduler, self._access, admission, self._limits, metrics)
        try:
            yield
        finally:
            scheduler.stop()

    @property
    def running(self) -> Context:
        """What the endpoints share."""
        assert self.context is not None, "the application is not running"
        return self.context

    async def _live(self, socket: WebSocket) -> None:
        await LiveSocket(self.running, socket).serve()

    async def _transcribe(self, request: Request) -> Response:
        return await Transcription(self.running)(request)

    async def _health(self, request: Request) -> Response:
        """For those who watch over servers: whether this one takes streams."""
        standing = self.running.admission.standing(is_live=True)
        status = "ok" if standing is None else standing.reason
        return JSONResponse({"status": status}, 200 if standing is None else standing.status)

    async def _metrics(self, request: Request) -> Response:
        if (refusal := self.running.access.refusal(request)) is not None:
            return refusal_response(self.running.refused(refusal))
        scheduler, metrics = self.running.scheduler, self.running.metrics
        audio = metrics.value("audio_seconds")
        metrics.gauges |= {
            "streams": scheduler.count(is_live=True),
            "uploads": scheduler.count(is_live=False),
            "waiting_seconds": scheduler.waiting_seconds(),
            "chunk_seconds": scheduler.chunk_seconds,
            "real_time_factor": (metrics.value("stepping_seconds") + metrics.value("completing_seconds"))
            / (audio or 1),
        }
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    async def _about(self, request: Request) -> Response:
        """For the page: what the network is, and whether it would take a stream now."""
        if (refusal := self.running.access.refusal(request)) is not None:
            return refusal_response(self.running.refused(refusal))
        standing = self.running.admission.standing(is_live=True)
        return JSONResponse(
            {
                **asdict(self._description),
                "chunk_seconds": self.running.scheduler.chunk_seconds,
                "refusal": None if standing is None else standing.message,
            }
        )

    async def _models(self, request: Request) -> Response:
        if (refusal := self.running.access.refusal(request)) is not None:
            return refusal_response(self.running.refused(refusal))
        own = {"id": self._description.name, "object": "model", "created": self._started, "owned_by": "dualtk"}
        return JSONResponse({"object": "list", "data": [own]})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), "http")


async def _fault(request: Request, error: Exception) -> Response:
    return error_response(500, "a fault of the server; its log has more", "fault")
