"""A server as users start it, in a process of its own, over a small network with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving.running import Running, start
from small_experiment import write_experiment

import dualtk
from dualtk.recognizer import Recognizer


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("serving") / "tiny", "modes.streaming.left_context=8")


@pytest.fixture(scope="session")
def recognizer(model: Path) -> Recognizer:
    return dualtk.load(model)


@pytest.fixture(scope="session")
def server(model: Path) -> Iterator[Running]:
    running = start(model, "--max-openings", "0", "--max-latency", "1e6")
    yield running
    running.stop()


@pytest.fixture
def start_server(model: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*options: str) -> Running:
        started.append(start(model, *options))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
