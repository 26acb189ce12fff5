"""The live page in a real browser, with a WAV as its microphone."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from serving.browser import PROGRAM, Browser
from serving.running import Running, talk

from dualtk.formats import as_srt
from dualtk.recognizer import Recognizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium (Debian's package `chromium`)"),
]
IDLE = "document.getElementById('microphone').getAttribute('aria-pressed') === 'false'"
SAID = "document.getElementById('status').textContent"
SEGMENTS = """[...document.querySelectorAll('#transcript li')].map((item) => ({
  time: item.querySelector('time').textContent,
  words: [...item.querySelectorAll('.word')].map((word) => word.textContent),
  gone: [...item.querySelectorAll('del')].map((word) => word.textContent),
  came: [...item.querySelectorAll('ins')].map((word) => word.textContent),
  shades: [...item.querySelectorAll('.word')].map((word) => word.dataset.sure ?? '4'),
}))"""
# What goes to the server, kept in the page; the SRT that it offers, too.
KEEP = """window.sent = []; window.saved = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  if (typeof data !== 'string') window.sent.push(...new Float32Array(data.buffer ?? data));
  return send.call(this, data);
};
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved.push(text)); return make(blob); };"""


async def open_page(browser: Browser, server: Running, mode: str) -> None:
    await browser.send("Page.addScriptToEvaluateOnNewDocument", source=KEEP)
    await browser.open(server.url)
    await browser.until(f"{SAID} === 'Ready.'")
    await browser.run(f"document.getElementById('mode').value = '{mode}'")


async def finished(browser: Browser) -> list[dict[str, Any]]:
    await browser.until(f"{IDLE} && {SAID} === 'Finished.'")
    found = await browser.run(SEGMENTS)
    assert browser.messages == []  # nothing that the security policy or a script complains of
    return list(found)


def wave(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize("mode", ["two-pass", "streaming", "full"])
def test_a_file_on_the_page_says_what_transcribe_says(
    server, recognizer: Recognizer, tmp_path: Path, mode: str
) -> None:
    path = wave(tmp_path / "a.wav", talk(1))

    async def shown() -> tuple[list[dict[str, Any]], str]:
        async with Browser() as browser:
            await open_page(browser, server, mode)
            await browser.choose("#file", path)
            segments = await finished(browser)
            await browser.run("document.getElementById('download').click()")
            await browser.until("window.saved.length === 1")
            return segments, await browser.run("window.saved[0]")

    segments, subtitles = asyncio.run(shown())
    expected = recognizer.transcribe(path, mode)
    assert [one["words"] for one in segments] == [[word.text for word in one.words] for one in expected.segments]
    assert subtitles == as_srt("", expected)
    for one, segment in zip(segments, expected.segments, strict=True):
        if segment.first_pass is not None:  # what was corrected can be undone
            first = [word.text for word in segment.first_pass.words]
            assert len(one["gone"]) + len(one["words"]) - len(one["came"]) == len(first)
        limits = [sum(word.confidence >= limit for limit in (0.5, 0.7, 0.85, 0.95)) for word in segment.words]
        assert one["shades"] == [str(limit) for limit in limits]


def test_a_microphone_on_the_page_says_what_transcribe_says_of_what_it_heard(
    server, recognizer: Recognizer, tmp_path: Path
) -> None:
    path = wave(tmp_path / "a.wav", np.concatenate([np.zeros(16000, np.float32), talk(1)]))

    async def heard() -> tuple[list[dict[str, Any]], list[float], dict[str, str], int]:
        async with Browser(path) as browser:
            await open_page(browser, server, "two-pass")
            await browser.run("document.getElementById('microphone').click()")
            grown = set()
            await browser.until(f"{SAID} === 'Listening.'")
            for _ in range(60):
                grown.add(await browser.run("document.querySelector('#transcript .growing')?.textContent ?? ''"))
                await asyncio.sleep(0.1)
            meters = await browser.run(
                "Object.fromEntries([...document.querySelectorAll('dd')].map((one) => [one.id, one.textContent]))"
            )
            await browser.run(
                "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}))"
            )
            segments = await finished(browser)
            return segments, json.loads(await browser.run("JSON.stringify(window.sent)")), meters, len(grown)

    segments, sent, meters, grown = asyncio.run(heard())
    samples = np.array(sent, np.float32)
    assert len(samples) > 4 * 16000
    assert np.abs(samples).max() > 0.05
    expected = recognizer.transcribe(samples, "two-pass", rate=16000)
    assert [one["words"] for one in segments] == [[word.text for word in one.words] for one in expected.segments] != []
    assert grown > 3  # text grew while it was spoken
    assert float(meters["recorded"].split()[0]) > 4
    assert 0 < int(meters["felt"].split()[0]) < 3000
    assert 0 <= int(meters["served"].split()[0]) <= int(meters["felt"].split()[0]) + 50


def test_a_token_is_asked_for_and_a_full_server_says_so(start_server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    server = start_server("--token-file", str(tmp_path / "token"), "--max-streams", "1")
    path = wave(tmp_path / "a.wav", talk(1))

    async def used() -> tuple[str, str]:
        async with Browser() as browser:
            await browser.open(server.url)
            await browser.until("!document.getElementById('token-form').hidden")
            asked = await browser.run(SAID)
            await browser.run("document.getElementById('token').value = 's3cret'")
            await browser.run("document.querySelector('#token-form button').click()")
            await browser.until(f"{SAID} === 'Ready.'")
            await browser.choose("#file", path)
            await browser.until(f"{IDLE} && {SAID} === 'Finished.'")
            await browser.run(
                "window.other = new WebSocket(location.href.replace('http', 'ws'), "
                "['dualtk', 'dualtk.token.' + btoa('s3cret')]); 0"
            )
            await browser.until("window.other.readyState === 1")
            await browser.choose("#file", path)
            await browser.until(f"{IDLE} && {SAID}.includes('as many as may be')")
            return asked, await browser.run("document.getElementById('status').dataset.kind")

    assert asyncio.run(used()) == ("a token is needed: Authorization: Bearer TOKEN", "fault")


def test_the_page_reaches_nothing_but_its_server_and_fits(server, tmp_path: Path) -> None:
    async def tried() -> tuple[list[str], list[int], list[str]]:
        async with Browser() as browser:
            await browser.open(server.url)
            await browser.until(f"{SAID} === 'Ready.'")
            await browser.run("fetch('http://example.invalid/').catch(() => 0)")
            await browser.run(
                "document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))"
            )
            widths = []
            for width in (320, 390, 1280):
                await browser.look(tmp_path / f"{width}.png", width, 800, "dark")
                widths.append(await browser.run("document.documentElement.scrollWidth"))
            names = await browser.run(
                "[...document.querySelectorAll('button, input, select')].filter((one) => one.offsetParent)"
                ".map((one) => one.labels?.[0]?.textContent || one.textContent)"
            )
            assert await browser.run("window.bad") is None
            return browser.messages, widths, names

    messages, widths, names = asyncio.run(tried())
    for rule in ("connect-src", "script-src"):
        assert any(rule in one for one in messages), messages
    assert widths == [320, 390, 1280]
    assert all(names)
