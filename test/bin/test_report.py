"""`dualtk report`, looked at in a real browser where there is one."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dualtk.bin import report, score
from dualtk.bin.dualtk import run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WORDS = ["turn", "on", "off", "the", "light", "in", "kitchen", "please", "now"]


class Browser:
    """Headless Chromium over its debugging pipe: commands to one descriptor, answers and events from another."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def wire() -> None:  # Chromium reads descriptor 3 and writes descriptor 4
            spare = [os.dup(to_browser), os.dup(from_browser)]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        self._process = subprocess.Popen(
            command, preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self._in, 1 << 16)
            assert piece, "the browser has gone"
            self._buffer += piece
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._listen(message)
        return message

    def _listen(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(str(params["entry"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(
            ("file:", "data:", "about:")
        ):
            self.complaints.append(f"fetched {params['request']['url']}")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, page: Path, width: int, scheme: str) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def ask(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def close(self) -> None:
        self._session = None
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


def write_data(folder: Path, num: int) -> dict[str, list[str]]:
    """A data directory with audio and word times; returns the words of each utterance."""
    folder.mkdir(parents=True)
    generator = random.Random(0)
    texts = {f"s{index % 3}-{index:03d}": generator.choices(WORDS, k=1 + index % 8) for index in range(num)}
    tables: dict[str, list[str]] = {"text": [], "utt2spk": [], "wav.scp": [], "words.ctm": []}
    for utterance, words in sorted(texts.items()):
        samples = 0.1 * np.sin(np.arange(1600 * (len(words) + 1)) * 0.1)
        soundfile.write(folder / f"{utterance}.wav", samples, 16000)
        tables["text"].append(f"{utterance} {' '.join(words)}")
        tables["utt2spk"].append(f"{utterance} {utterance[:2]}")
        tables["wav.scp"].append(f"{utterance} {folder / utterance}.wav")
        tables["words.ctm"] += [f"{utterance} 1 {0.1 * n:.2f} 0.10 {word}" for n, word in enumerate(words)]
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return texts


def write_experiment(folder: Path, data: Path, texts: dict[str, list[str]], error: float, seed: int) -> None:
    """A scored experiment: two modes of one set, and training metrics."""
    generator = random.Random(seed)
    for mode in ("full", "streaming"):
        decode = folder / "decode" / f"test-{mode}"
        decode.mkdir(parents=True)
        facts = {
            "mode": mode,
            "search": {"name": "greedy"},
            "full_context": mode == "full",
            "chunk": 4 if mode == "streaming" else 1,
        }
        facts |= {"look_ahead_ms": 0, "subsampling": 4, "num_parameters": 1_060_000, "real_time_factor": 0.01 + error}
        if mode == "streaming":
            facts["chunk_seconds"] = {"p50": 0.01, "p90": 0.02, "p99": 0.03}
        (decode / "decode.json").write_text(json.dumps(facts))
        text, tokens = "", ""
        for utterance, words in texts.items():
            heard = [generator.choice(WORDS) if generator.random() < error else word for word in words]
            text += f"{utterance} {' '.join(heard)}\n"
            times = [0.1 * index + 0.1 + generator.uniform(0, 0.2) for index in range(len(heard))]
            line = {"utt": utterance, "tokens": [f"▁{word}" for word in heard], "emissions": times, "duration": 2.0}
            tokens += json.dumps(line) + "\n"
        (decode / "text").write_text(text)
        (decode / "tokens.jsonl").write_text(tokens)
        score.main(["--data", str(data), "--decode", str(decode)])
    with (folder / "metrics.jsonl").open("w") as metrics:
        for step in range(1, 21):
            line = {
                "step": step,
                "kind": "train",
                "full/rnnt": 9 / step,
                "streaming/rnnt": 12 / step,
                "loss": 10 / step,
            }
            metrics.write(json.dumps({**line, "learning_rate": 1e-3 / step, "gradient_norm": 3.0}) + "\n")
            if step % 5 == 0:
                metrics.write(json.dumps({**line, "kind": "valid"}) + "\n")


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("report")
    texts = write_data(root / "test", 24)
    folders = [root / "dual", root / "baseline"]
    for seed, (folder, error) in enumerate(zip(folders, (0.1, 0.3))):
        write_experiment(folder, root / "test", texts, error, seed)
    return folders


@pytest.mark.slow
def test_one_file_that_needs_no_other(experiments: list[Path]) -> None:
    assert report.main([str(experiments[0]), "--data", str(experiments[0].parent / "test")]) == 0
    page = (experiments[0] / "report.html").read_text()
    assert page.count("<audio ") == len(re.findall(r'src="data:audio/flac;base64,', page)) > 0
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"url\((?!#)", page)
    assert page.count("<svg ") >= 6
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_several_experiments_side_by_side(experiments: list[Path], tmp_path: Path) -> None:
    (experiments[0] / "config.yaml").unlink(missing_ok=True)
    assert report.main([*map(str, experiments), "--out", str(tmp_path / "two.html"), "--worst", "2"]) == 0
    page = (tmp_path / "two.html").read_text()
    assert "baseline streaming" in page
    assert "WER minus that of dual" in page
    assert "chunk ms @99" in page
    assert page.count('<div class="utterance">') == 2


@pytest.mark.slow
def test_an_extracted_network_has_its_size_and_speed(experiments: list[Path], tmp_path: Path) -> None:
    facts = {"mode": "streaming", "pattern": "2:4", "trained": True, "int8": False, "sparsity": 0.5}
    facts |= {"kept_parameters": 500_000, "parameters": 1_000_000, "size": 2_150_000, "full_size": 4_000_000}
    extracted = tmp_path / "compact"
    shutil.copytree(experiments[1], extracted)
    (extracted / "extract.json").write_text(json.dumps({**facts, "speed": {"float32": 0.1234}}))
    assert report.main([str(experiments[0]), "--out", str(tmp_path / "without.html")]) == 0
    assert "Compact networks" not in (tmp_path / "without.html").read_text()
    assert report.main([str(experiments[0]), str(extracted), "--out", str(tmp_path / "with.html")]) == 0
    page = (tmp_path / "with.html").read_text()
    section = page[page.index('<section id="compact">') :].split("</section>")[0]
    assert all(f"<span>{text}</span>" in section for text in ("compact", "2:4", "500 k", "2.15", "4.00", "0.1234"))


@pytest.mark.slow
def test_nothing_that_came_with_an_experiment_runs_or_is_read(experiments: list[Path], tmp_path: Path) -> None:
    """Its name, figures and scores are anybody's: no script of theirs, and no audio that only they name."""
    evil = '<script>alert("in")</script>'
    folder = tmp_path / f"x{evil.replace('/', '')}"
    shutil.copytree(experiments[0], folder)
    (folder / "analysis").mkdir()
    for name, svg in (
        ("a", f'<svg aria-label="A&lt;b&gt; {evil}" onload="alert(1)"><desc>{evil}</desc>{evil}</svg>'),
        ('b"><img src=x onerror=alert(1)>', "no svg"),
    ):
        (folder / "analysis" / f"{name}.svg").write_text(svg)
        (folder / "analysis" / f"{name}.tsv").write_text("</a><script>\n")
    assert report.main([str(folder), "--out", str(tmp_path / "evil.html")]) == 0
    page = (tmp_path / "evil.html").read_text()
    assert page.count("<script") == 1
    assert not re.search(r"<[^>]*\bon(load|error)=", re.sub(r'"[^"]*"', '""', page))
    assert "<audio" not in page
    assert "data:image/svg+xml;base64," in page


@pytest.mark.slow
def test_reports_the_same_twice(experiments: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        report.main([str(experiments[0]), "--out", str(tmp_path / name)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_faults_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report.main, [str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert run(report.main, [str(tmp_path / "empty")]) == 2
    assert "has no scored set" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian package chromium)")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(experiments: list[Path], tmp_path: Path, browser: Browser, width: int, scheme: str) -> None:
    page = tmp_path / "two.html"
    report.main([*map(str, experiments), "--out", str(page)])
    browser.open(page, width, scheme)
    browser.screenshot(tmp_path / f"{width}-{scheme}.png")
    assert browser.complaints == []
    assert browser.ask("document.documentElement.scrollWidth") <= width
    shades = browser.ask(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        ".map(c => Number(c.match(/[0-9]+/)[0]))"
    )
    assert (shades[0] > shades[1]) == (scheme == "light")
    assert browser.ask("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 12
    assert (
        browser.ask(
            "new Set([...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height > 6)).size"
        )
        == 1
    )


@pytest.mark.slow
def test_tables_sort(experiments: list[Path], tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "two.html"
    report.main([*map(str, experiments), "--out", str(page)])
    browser.open(page, 1280, "light")
    column = "[...document.querySelectorAll('#results tbody tr')].map(r => Number(r.cells[4].dataset.value))"
    press = "document.querySelectorAll('#results th button')[4].click()"
    browser.ask(press)
    rising = browser.ask(column)
    assert rising == sorted(rising)
    assert len(set(rising)) > 1
    browser.ask(press)
    assert browser.ask(column) == rising[::-1]
    assert browser.ask("document.querySelectorAll('#results th')[4].ariaSort") == "descending"
    browser.ask("document.querySelectorAll('#results th button')[1].click()")
    systems = browser.ask("[...document.querySelectorAll('#results tbody tr')].map(r => r.cells[1].textContent)")
    assert systems == sorted(systems)


@pytest.mark.slow
def test_audio_plays(experiments: list[Path], tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "one.html"
    report.main([str(experiments[0]), "--out", str(page), "--data", str(experiments[0].parent / "test")])
    browser.open(page, 1280, "light")
    seconds = browser.ask(
        "new Promise(done => { const a = document.querySelector('audio'); a.onerror = () => done(-1);"
        " a.onloadedmetadata = () => done(a.duration); a.preload = 'auto'; a.load(); })"
    )
    assert 0.1 < seconds < 2.0


def test_a_page_of_others_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.html").write_text("<!DOCTYPE html>\n<p>mine\n")
    assert run(report.main, [str(tmp_path), "--out", str(tmp_path / "thesis.html")]) == 2
    assert "thesis.html: exists and is no report of dualtk" in capsys.readouterr().err
