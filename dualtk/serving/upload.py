"""Forms with a file, of bounded size, into a folder of their own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dualtk.serving.access import Refusal
from dualtk.serving.limits import Limits
from dualtk.serving.web import FormData, Message, MultiPartException, Request, UploadFile

AUDIO = "audio"  # name of the file
MEGABYTE = 1 << 20
FIELDS = 40  # of a form
OVERHEAD = 1 << 16  # bytes of a form beside the file
SMALLEST_RATE = 8192  # bytes a second: a client that sends slower is not waited for


class Refused(Exception):
    """The request is not served."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _bounded(request: Request, limits: Limits) -> Request:
    """The same request; reading more than its size allows, or waiting longer for it, raises."""
    most, read = limits.max_upload * MEGABYTE + OVERHEAD, 0
    too_large = Refused(Refusal(413, "too_large", f"a file has at most {limits.max_upload} MB"))
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise too_large
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def receive() -> Message:
        nonlocal read
        allowed = limits.max_idle + read / SMALLEST_RATE - (loop.time() - began)
        try:
            message = await asyncio.wait_for(request.receive(), max(0.0, min(allowed, limits.max_idle)))
        except asyncio.TimeoutError:
            raise Refused(Refusal(408, "slow", "the file came too slowly")) from None
        read += len(message.get("body", b""))
        if read > most:
            raise too_large
        return message

    return Request(request.scope, receive)


@asynccontextmanager
async def uploaded(request: Request, limits: Limits) -> AsyncIterator[tuple[FormData, Path | None]]:
    """The form of a request, and its `file` as a file whose name is not that of the client.

    Raises:
        Refused: no form, a file that is too large, or one that comes too slowly.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(Refusal(400, "form", "expected multipart/form-data with a file"))
    try:
        form = await _bounded(request, limits).form(max_files=1, max_fields=FIELDS, max_part_size=OVERHEAD)
    except MultiPartException as error:
        raise Refused(Refusal(400, "form", error.message)) from error
    try:
        with tempfile.TemporaryDirectory(prefix="dualtk-") as folder:
            part, path = form.get("file"), Path(folder) / AUDIO
            if isinstance(part, UploadFile):
                await asyncio.to_thread(_save, part, path)
            yield form, path if isinstance(part, UploadFile) else None
    finally:
        await form.close()


def _save(part: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(part.file, file)
