"""Load of `dualtk serve`, or of another server of the same protocol, on loopback.

    python tools/bench/serving.py load [--precision int8] [--engine torch] [--picture docs/serving.png]
    python tools/bench/serving.py load --url ws://127.0.0.1:6006 --name sherpa-onnx
    python tools/bench/serving.py compare --sherpa-server streaming_server.py --picture docs/serving.png
    python tools/bench/serving.py chaos [--connections 1000]

`load` adds streams that speak in real time until the 95th percentile of chunk latency, from the sending of the audio
that completes a chunk to its result, passes a chunk. `compare` does that with each server of `SERVERS` in turn: ours,
and sherpa-onnx's own Python server (python-api-examples of its repository) over the exported network. `chaos` opens
and drops connections at random, with garbage and slow readers among them, beside streams whose texts are compared
with those of offline streaming. Server and clients share the processors. The network is
egs/methods/dual_conformer.yaml at the paper's size with random weights, as in decoding.py, or that of --model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from decoding import RATE, audio, processor  # noqa: E402
from servers import SERVERS, served, sherpa_served, write_model  # noqa: E402
from speakers import CHUNK, Speaker, drop_at_random, talk  # noqa: E402

import dualtk  # noqa: E402

SETTLE = 4.0  # seconds that streams have been there when latencies are first counted
PARTS = 5  # of the bad connections, after each of which memory is looked at


def compare(chosen: argparse.Namespace, folder: Path) -> dict[str, list[Level]]:
    """The levels of every server, one after the other."""
    model, levels = chosen.model or write_model(folder / "paper"), {}
    for number, (name, (precision, engine)) in enumerate(SERVERS.items()):
        if chosen.only not in name:
            continue
        own = folder / str(number)
        own.mkdir()
        if engine is not None:
            server = served(model, own, "--precision", precision, "--engine", engine)
        elif chosen.sherpa_server is None:
            continue
        else:
            server = sherpa_served(chosen.sherpa_server.resolve(), own, precision)
        with server as (url, pid):
            levels[name] = measure(chosen, url, pid, name)
    return levels


def metrics(url: str) -> dict[str, float]:
    """What the server says of itself."""
    with urllib.request.urlopen(url.replace("ws://", "http://") + "/metrics", timeout=10) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {key: float(value) for key, value in lines}


def cpu_seconds(pid: int) -> float:
    """That a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Of a process, in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentile(values: list[float], share: float) -> float:
    """Of values in any order; infinite where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")


@dataclass(frozen=True)
class Level:
    """How late results came with so many streams, in milliseconds, and how many processors the server used."""

    streams: int
    median: float
    late: float
    processors: float


async def raise_load(url: str, pid: int | None, step: int, seconds: float, most: int) -> list[Level]:
    """Add streams until results come late."""
    draw, speakers, tasks, levels = random.Random(1), list[Speaker](), list[asyncio.Task[None]](), list[Level]()
    sounds = [talk(seed) for seed in range(8)]
    while len(speakers) < most and (not levels or levels[-1].late < 1000 * CHUNK):
        for _ in range(step):
            sound = draw.choice(sounds)  # that begins anywhere: pauses of several would come at once
            speakers.append(Speaker(url, np.roll(sound, draw.randrange(len(sound))), is_endless=True))
            tasks.append(asyncio.create_task(speakers[-1].speak()))
            await asyncio.sleep(draw.random() * CHUNK)
        await asyncio.sleep(SETTLE)
        began, used = time.monotonic(), cpu_seconds(pid) if pid else 0.0
        await asyncio.sleep(seconds)
        for task in tasks:
            if task.done():
                task.result()
        took = time.monotonic() - began
        latencies = [1000 * late for one in speakers for at, late in one.latencies if at >= began]
        share = ((cpu_seconds(pid) if pid else 0.0) - used) / took
        levels.append(Level(len(speakers), percentile(latencies, 0.5), percentile(latencies, 0.95), share))
        one = levels[-1]
        print(f"| {one.streams} | {one.median:.0f} | {one.late:.0f} | {one.processors:.2f} |", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return levels


def draw_curve(path: Path, curves: dict[str, list[Level]]) -> None:
    """Latency over streams."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, levels in curves.items():
        axes.plot([one.streams for one in levels], [one.late for one in levels], marker="o", ms=3, label=name)
    axes.axhline(1000 * CHUNK, color="grey", linestyle="--", linewidth=1)
    axes.set(xlabel="streams", ylabel="chunk latency, 95th percentile (ms)", ylim=(0, 3000 * CHUNK))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


async def chaos(url: str, pid: int, model: Path, options: argparse.Namespace) -> int:
    """Good streams beside bad ones."""
    recognizer = dualtk.load(model, precision=options.precision, engine=options.engine)
    sounds = [audio(15, seed).numpy() for seed in range(4)]
    expected = [recognizer.transcribe(sound, rate=RATE).text for sound in sounds]
    memory, equal, good, began = [resident_megabytes(pid)], 0, 0, time.monotonic()

    async def drop_all() -> dict[str, int]:
        kinds: dict[str, int] = {}
        for part in range(PARTS):
            await drop_at_random(url, options.connections // PARTS, 20, part, kinds)
            memory.append(resident_megabytes(pid))
        return kinds

    bad = asyncio.create_task(drop_all())
    while not bad.done():
        speakers = [Speaker(url, sound, is_endless=False) for sound in sounds]
        await asyncio.gather(*(one.speak() for one in speakers))
        good += len(speakers)
        equal += sum(" ".join(filter(None, one.texts)) == text for one, text in zip(speakers, expected))
    print(f"bad connections: {await bad}, in {time.monotonic() - began:.0f} s")
    print(f"good streams: {good}, of which {equal} have the text of offline streaming")
    ended = time.monotonic()
    while (left := metrics(url)["dualtk_streams"]) and time.monotonic() < ended + 90:
        await asyncio.sleep(0.5)
    print(f"streams left: {left:g} after {time.monotonic() - ended:.0f} s")
    print(f"memory before, and after each of {PARTS} parts: {', '.join(f'{one:.0f}' for one in memory)} MB")
    return 0 if equal == good else 1


def main() -> int:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["load", "compare", "chaos"])
    options.add_argument(
        "--model", type=Path, metavar="DIR", help="experiment or model folder; default: random weights"
    )
    options.add_argument("--precision", choices=["float32", "int8"], default="int8", help="default: int8")
    options.add_argument(
        "--engine", choices=["torch", "onnxruntime"], default="onnxruntime", help="default: onnxruntime"
    )
    options.add_argument("--sherpa-server", type=Path, metavar="PY", help="its streaming_server.py, for compare")
    options.add_argument("--only", default="", metavar="TEXT", help="for compare, servers with this in their names")
    options.add_argument("--url", help="of a server that runs already")
    options.add_argument("--pid", type=int, metavar="N", help="of that server, to know its processor time")
    options.add_argument("--name", default="dualtk", help="of the server, in the picture")
    options.add_argument("--step", type=int, default=5, metavar="N", help="streams added at once; default: 5")
    options.add_argument("--most", type=int, default=200, metavar="N", help="streams; default: 200")
    options.add_argument("--seconds", type=float, default=6.0, help="measured at each level; default: 6")
    options.add_argument("--connections", type=int, default=1000, metavar="N", help="bad ones; default: 1000")
    options.add_argument("--curves", type=Path, metavar="JSON", help="keep the levels of this server beside others'")
    options.add_argument("--picture", type=Path, metavar="PNG", help="draw the levels, and those in --curves")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.url is not None:
            levels = {chosen.name: measure(chosen, chosen.url, chosen.pid, chosen.name)}
        elif chosen.what == "compare":
            levels = compare(chosen, Path(folder))
        else:
            model = chosen.model or write_model(Path(folder) / "paper")
            with served(model, Path(folder), "--precision", chosen.precision, "--engine", chosen.engine) as (url, pid):
                if chosen.what == "chaos":
                    return asyncio.run(chaos(url, pid, model, chosen))
                levels = {chosen.name: measure(chosen, url, pid, chosen.name)}
    curves = {} if chosen.curves is None or not chosen.curves.exists() else json.loads(chosen.curves.read_text())
    curves |= {name: [list(vars(one).values()) for one in own] for name, own in levels.items()}
    if chosen.curves is not None:
        chosen.curves.write_text(json.dumps(curves))
    if chosen.picture is not None:
        draw_curve(chosen.picture, {name: [Level(*one) for one in own] for name, own in curves.items()})
    return 0


def measure(chosen: argparse.Namespace, url: str, pid: int | None, name: str) -> list[Level]:
    """The table of a server."""
    load_average = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, {processor()}, torch {torch.__version__}; load before: {load_average:.1f}\n")
    print(f"| streams, {name} | median ms | 95 % within ms | processors used |\n| --- | --- | --- | --- |")
    return asyncio.run(raise_load(url, pid, chosen.step, chosen.seconds, chosen.most))


if __name__ == "__main__":
    sys.exit(main())
