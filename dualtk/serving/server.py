"""uvicorn with an end that lets streams finish. SIGTERM or Ctrl-C ends it so; a second one ends it at once."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from types import FrameType

from dualtk.serving.application import Application
from dualtk.serving.head import head_within
from dualtk.serving.limits import Limits
from dualtk.serving.web import Config, Server

GLANCE = 0.1  # seconds between two looks whether streams have ended
LATE = 5.0  # seconds in which results are sent after streams were ended

log = logging.getLogger(__name__)


def configuration(application: Application, limits: Limits, certfile: Path | None, keyfile: Path | None) -> Config:
    """uvicorn's."""
    return Config(
        application.asgi,
        http=head_within(limits.max_header),
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ws="websockets-sansio",  # reads no further than the application does
        ws_max_size=limits.max_message,
        ws_per_message_deflate=False,  # audio does not compress, and a small message might become a large one
        limit_concurrency=limits.max_streams + limits.max_uploads + 200,
        timeout_graceful_shutdown=3,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
    )


class DrainingServer(Server):
    """Takes no new streams once it was asked to end, and ends when the old ones have."""

    def __init__(self, application: Application, config: Config, limits: Limits) -> None:
        super().__init__(config)
        self._application = application
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take clients of the sockets."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        log.info("listening", extra={"fields": {"host": host, "port": port, "tls": self.config.is_ssl}})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        context = self._application.context
        if self._loop is None or context is None or context.admission.is_draining:
            self.should_exit = True
            return
        context.admission.is_draining = True
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        """Wait for streams to end by themselves, then end them with the results that they have."""
        scheduler = self._application.running.scheduler
        log.info("draining", extra={"fields": {"streams": scheduler.count(is_live=True)}})
        await self._until_empty(self._limits.max_drain)
        scheduler.close_all()
        await self._until_empty(LATE)
        self.should_exit = True

    async def _until_empty(self, seconds: float) -> None:
        scheduler, end = self._application.running.scheduler, asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self.should_exit:
            if scheduler.count(is_live=True) + scheduler.count(is_live=False) == 0:
                return
            await asyncio.sleep(GLANCE)
