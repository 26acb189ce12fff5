"""A server in a process of its own, and what is said to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from small_networks import speech

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000


@dataclass
class Running:
    """A server that listens; after `stop`, `text` is what it has written, `log` the events in it."""

    process: subprocess.Popen[str]
    port: int
    text: str = ""
    log: list[dict[str, object]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        """A line of /metrics; 0 where there is none."""
        lines = [line.split() for line in self.get("/metrics").splitlines() if not line.startswith("#")]
        return sum(float(value) for key, value in lines if key == name)

    def stop(self, number: int | None = signal.SIGTERM) -> int:
        """The exit status, after a signal where one is to be sent."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        _, output = self.process.communicate(timeout=60)
        self.text = output
        self.log += [json.loads(line) for line in output.splitlines() if line.startswith("{")]  # libraries write too
        return self.process.returncode


def start(model: Path, *options: str) -> Running:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dualtk.bin.dualtk", "serve", str(model), "--port", "0", *options]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listening" in line, line + process.stderr.read()
    return Running(process, json.loads(line)["port"], log=[json.loads(line)])


def talk(seed: int) -> np.ndarray:
    """Two sentences with a pause."""
    silence = torch.zeros(RATE)
    return torch.cat([speech(14000, seed), silence, speech(20000, seed + 1), silence]).numpy()
