"""A headless Chromium with a WAV as its microphone, by its DevTools protocol over `websockets`."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import websockets

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]


class Browser:
    """One page. `messages` has what its console and its security policy complained of."""

    def __init__(self, microphone: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        fake = [] if microphone is None else [f"--use-file-for-fake-audio-capture={microphone}%noloop"]
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, *QUIET, f"--user-data-dir={self._folder.name}", *fake, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.messages: list[str] = []

    async def __aenter__(self) -> Browser:
        port_file, end = Path(self._folder.name) / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
            assert time.monotonic() < end, "Chromium has not started"
            await asyncio.sleep(0.1)
        port, path = port_file.read_text().splitlines()
        self._socket = await websockets.connect(f"ws://127.0.0.1:{port}{path}", max_size=None)
        self._listening = asyncio.create_task(self._listen())
        self._session: str | None = None
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        await self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        self._folder.cleanup()

    async def _listen(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] == "Log.entryAdded":
                self.messages.append(message["params"]["entry"]["text"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.messages.append(str(message["params"]["exceptionDetails"]))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        session = {} if self._session is None else {"sessionId": self._session}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        answer = await asyncio.wait_for(self._answers[number], 60)
        assert "error" not in answer, answer
        return dict(answer["result"])

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression."""
        found = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, condition: str, seconds: float = 60) -> None:
        """Wait for a condition."""
        end = time.monotonic() + seconds
        while not await self.run(condition):
            assert time.monotonic() < end, f"{condition}: {await self.run('document.body.innerText')}"
            await asyncio.sleep(0.1)

    async def choose(self, selector: str, path: Path) -> None:
        """Give a file to an input."""
        found = await self.send("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
        await self.send("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    async def look(self, path: Path, width: int, height: int, scheme: str, *, whole: bool = True) -> None:
        """A picture of the whole page, or of what is in view."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await asyncio.sleep(0.3)
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
