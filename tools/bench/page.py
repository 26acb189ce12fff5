"""Speak a recording into the live page's microphone, in Chromium, and compare what it shows with `transcribe`.

    python tools/bench/page.py --model EXP --wav talk.wav [--pictures DIR]

The page's text must be what two passes make of the samples that the browser sent. The latencies that the page measures
are printed beside those of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "test/serving")]

from browser import Browser  # noqa: E402
from serving import metrics, served  # noqa: E402

import dualtk  # noqa: E402

SEGMENTS = (
    "JSON.stringify([...document.querySelectorAll('#transcript li')]"
    ".map((item) => [...item.querySelectorAll('.word')].map((word) => word.textContent)))"
)
KEEP = """window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  if (typeof data !== 'string') window.sent.push(new Float32Array(data.buffer));
  return send.call(this, data);
};
window.taken = async (begin, end) => {
  const bytes = new Uint8Array(await new Blob(window.sent).slice(begin, end).arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
};"""
PART = 1 << 20  # bytes that are taken from the browser at once


async def speak(url: str, wav: Path, seconds: float, pictures: Path | None) -> tuple[list[list[str]], np.ndarray]:
    """The words of each segment on the page, and the samples that it sent."""
    async with Browser(wav) as browser:
        await browser.send("Page.addScriptToEvaluateOnNewDocument", source=KEEP)
        await browser.open(url.replace("ws://", "http://"))
        await browser.until("document.getElementById('status').textContent === 'Ready.'")
        await browser.run("document.getElementById('mode').value = 'two-pass'")
        await browser.run("document.getElementById('microphone').click()")
        end = time.monotonic() + seconds + 1
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(60.0, left))
            shown = await browser.run("[...document.querySelectorAll('dd')].map((one) => one.textContent).join(', ')")
            recent = {key[-6:-2]: value for key, value in metrics(url).items() if "recent" in key}
            print(
                f"page (recorded, understood, felt, 95 % felt, server): {shown}; server's quantiles: {recent}",
                flush=True,
            )
        if pictures is not None:
            for width, height in ((390, 844), (1280, 800)):
                for scheme in ("light", "dark"):
                    await browser.look(pictures / f"live-{width}-{scheme}.png", width, height, scheme, whole=False)
        await browser.run("document.getElementById('microphone').click()")
        await browser.until("document.getElementById('status').textContent === 'Finished.'")
        words = json.loads(await browser.run(SEGMENTS))
        assert browser.messages == [], browser.messages
        content, part = b"", None
        while part != b"":
            part = base64.b64decode(await browser.run(f"window.taken({len(content)}, {len(content) + PART})"))
            content += part
        return words, np.frombuffer(content, "<f4").copy()


def main() -> int:
    """Speak and compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, metavar="DIR")
    options.add_argument("--wav", type=Path, required=True, help="16-bit, of 48 kHz, the browser's own rate")
    options.add_argument("--pictures", type=Path, metavar="DIR")
    chosen = options.parse_args()
    seconds = soundfile.info(chosen.wav).duration
    with tempfile.TemporaryDirectory() as folder, served(chosen.model, Path(folder)) as (url, _):
        words, samples = asyncio.run(speak(url, chosen.wav.resolve(), seconds, chosen.pictures))
    expected = dualtk.load(chosen.model, chunk_ms=160).transcribe(samples, "two-pass", rate=16000)
    shown = [one for one in words if one]
    spoken = [[word.text for word in one.words] for one in expected.segments if one.words]
    equal = sum(one == other for one, other in zip(shown, spoken))
    print(
        f"{len(samples) / 16000:.1f} s, {len(shown)} segments on the page, {len(spoken)} by transcribe, {equal} equal"
    )
    return 0 if shown == spoken else 1


if __name__ == "__main__":
    sys.exit(main())
