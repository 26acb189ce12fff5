"""Servers to put under load: ours, and sherpa-onnx's own over the exported network."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from decoding import CONFIG, SIZE, VOCABULARY, make_network, write_for_sherpa  # noqa: E402

from dualtk.config import dump  # noqa: E402
from dualtk.data.fbank import FbankOptions  # noqa: E402
from dualtk.data.kinds import write_options  # noqa: E402
from dualtk.data.tokens import TokenOptions, write_tokenizer  # noqa: E402
from dualtk.modes import streaming  # noqa: E402
from dualtk.system import load  # noqa: E402
from dualtk.train.checkpoint import save_network  # noqa: E402
from dualtk.train.experiment import Experiment  # noqa: E402

# One label a frame, as sherpa-onnx has it: random weights would repeat one up to any limit.
NO_LIMITS = (
    *("--max-streams", "100000", "--max-openings", "0", "--max-latency", "1e6"),
    *("--max-symbols", "1", "--chunk-ms", "160"),
)
SERVERS = {  # by name in the picture: precision, and our engine
    "dualtk, onnxruntime, int8": ("int8", "onnxruntime"),
    "dualtk, onnxruntime, float32": ("float32", "onnxruntime"),
    "dualtk, PyTorch, float32": ("float32", "torch"),
    "sherpa-onnx, int8": ("int8", None),
    "sherpa-onnx, float32": ("float32", None),
}


def write_model(folder: Path) -> Path:
    """The paper's network with random weights, as an experiment."""
    folder.mkdir(parents=True)
    draw = random.Random(0)
    words = ["".join(draw.choice("bdfgklmnprst") + draw.choice("aeiou") for _ in range(3)) for _ in range(4000)]
    write_tokenizer(folder / "lang", [" ".join(words)], TokenOptions(size=VOCABULARY))
    write_options(folder, FbankOptions())
    system = load(CONFIG, SIZE, ["modes.streaming={left_context: 64, chunk: 4}"])
    (folder / "config.yaml").write_text(dump(system), encoding="utf-8")
    save_network(Experiment(folder, writes=False).network_file, make_network().state_dict())
    return folder


@contextmanager
def served(model: Path, folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A server's address and process id; its log goes into `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dualtk.bin.dualtk", "serve", str(model), "--port", "0", *NO_LIMITS, *options]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        while "listening" not in (text := (folder / "server.log").read_text()):
            if process.poll() is not None:
                raise SystemExit(text)
            time.sleep(0.2)
        yield f"ws://127.0.0.1:{json.loads(text.splitlines()[0])['port']}", process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def sherpa_served(script: Path, folder: Path, precision: str) -> Iterator[tuple[str, int]]:
    """The address and process id of sherpa-onnx's server over the same network, on as many threads."""
    mode, graphs = streaming(64, 4), folder / "graphs"
    graphs.mkdir(parents=True)
    write_for_sherpa(graphs, make_network(), mode, precision)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = {"encoder": f"encoder-{mode.name}", "decoder": "decoder", "joiner": "joiner"}
    command = [sys.executable, str(script), "--port", str(port), "--tokens", str(graphs / "tokens.txt")]
    command += [part for key, name in files.items() for part in (f"--{key}", str(graphs / f"{name}.onnx"))]
    command += ["--nn-pool-size", str(os.cpu_count()), "--num-threads", "1", "--doc-root", str(script.parent / "web")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit((folder / "server.log").read_text())
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"ws://127.0.0.1:{port}", process.pid
    finally:
        process.kill()
        process.wait()
