"""Signals end a training with its state saved; a second one, or the end of who started it, ends it at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import train_arguments
from torch.utils._pytree import tree_flatten

from dualtk.bin.train import main
from dualtk.data.sampler import BucketedBatches
from dualtk.errors import InputError
from dualtk.train import loop
from dualtk.train.stepping import Stepper

ROOT = Path(__file__).resolve().parents[2]


def progress(exp: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(exp / "checkpoints/last.pt", weights_only=True)["progress"]
    return found


def signal_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, count: int, number: signal.Signals) -> None:
    """This process gets a signal while it is in `owner.name` for the time `count`."""
    inner, calls = getattr(owner, name), []

    def signalled(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), number)
        return inner(*arguments, **named)

    monkeypatch.setattr(owner, name, signalled)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    exp = tmp_path_factory.mktemp("whole") / "exp"
    assert main(train_arguments(corpus, exp)) == 0
    return exp


def assert_same(exp: Path, other: Path) -> None:
    """The networks are the same file, and the training states hold the same numbers."""
    assert (exp / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    states = (torch.load(one / "checkpoints/last.pt", weights_only=True) for one in (exp, other))
    own, expected = (tree_flatten(state) for state in states)
    assert own[1] == expected[1]
    for value, there in zip(own[0], expected[0]):
        assert torch.equal(value, there) if isinstance(value, torch.Tensor) else value == there


PLACES: list[tuple[Callable[[], tuple[Any, str]], int, int, int]] = [
    (lambda: (Stepper, "take"), 3, 3, -1),  # in the third step: three are taken
    (lambda: (loop, "evaluate"), 1, 4, -1),  # in the first validation, which the next run has to do
    (lambda: (loop, "evaluate"), 3, 12, 8),  # in the last: the choice of the weights is due too
]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_a_signal_saves_and_the_same_command_ends_in_the_same_bytes(
    corpus: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    place: int,
) -> None:
    target, count, step, validated = PLACES[place]
    number = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)[place]
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signal_at(patch, *target(), count, number)
        assert main(train_arguments(corpus, tmp_path / "exp")) == 128 + number
    assert signal.getsignal(number) == before
    error = capfd.readouterr().err
    assert error.count(f"dualtk: {number.name}: ") == 1
    assert "Traceback" not in error
    assert (progress(tmp_path / "exp")["step"], progress(tmp_path / "exp")["validated"]) == (step, validated)
    assert not (tmp_path / "exp/.lock").exists()
    assert main(train_arguments(corpus, tmp_path / "exp")) == 0
    assert progress(tmp_path / "exp") == progress(whole)
    assert_same(tmp_path / "exp", whole)
    lines = map(json.loads, (tmp_path / "exp/metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 13))


@pytest.mark.slow
def test_a_signal_between_the_batches_of_a_step_takes_none_of_them(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run draws them again."""
    arguments = ["train.accumulate=3", "train.max_steps=4"]
    assert main(train_arguments(corpus, tmp_path / "whole", *arguments)) == 0
    inner = BucketedBatches.__iter__

    def stopping(self: Any) -> Any:
        for index, batch in enumerate(inner(self)):
            if index == 4 and self.shuffle:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(BucketedBatches, "__iter__", stopping)
        assert main(train_arguments(corpus, tmp_path / "exp", *arguments)) == 143
    assert (progress(tmp_path / "exp")["step"], progress(tmp_path / "exp")["batch"]) == (1, 3)
    assert main(train_arguments(corpus, tmp_path / "exp", *arguments)) == 0
    whole, broken = (tmp_path / name / "model.safetensors" for name in ("whole", "exp"))
    assert whole.read_bytes() == broken.read_bytes()


def test_a_signal_before_the_first_step_leaves_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from dualtk.bin import training

    signal_at(monkeypatch, training, "read_set", 1, signal.SIGTERM)
    assert main(train_arguments(corpus, tmp_path / "exp")) == 143
    assert capfd.readouterr().err == "dualtk: SIGTERM: ended before the first step\n"
    assert not (tmp_path / "exp").exists()


def test_a_second_run_is_refused_and_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    from test_locks import holder

    with holder(tmp_path / "exp/.lock") as process:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(InputError, match=rf"exp: another run is at work there: process {process.pid} on "):
            main(train_arguments(corpus, tmp_path / "exp"))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


STOPPABLE = """
import sys, time
from dualtk.train.stopping import stoppable
with stoppable() as stopping:
    stopping.saves = stopping.speaks = True
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_second_signal_ends_at_once_but_not_the_same_twice() -> None:
    """A terminal sends its Ctrl-C to a process and to the one that started it, which passes it on."""
    process = subprocess.Popen([sys.executable, "-c", STOPPABLE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == -signal.SIGINT
    assert error.count(b"\n") == 2
    assert b"SIGINT" in error
    assert b"Traceback" not in error


RECIPE = """
set -euo pipefail
. "$1/utils/pass_signals.sh"
watched env "$2" -c "$3" "$4"
echo "goes on"
"""
WORK = """
import signal, sys, time
from dualtk.bin.dualtk import follow_parent
follow_parent()
def handle(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(128 + number)
for name in sys.argv[1].split():
    signal.signal(getattr(signal, name), handle)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP", "SIGKILL"])
def test_what_a_recipe_gets_its_command_gets(name: str) -> None:
    """Of the recipe's death, however it came, the command is told by SIGTERM."""
    told = "SIGTERM" if name == "SIGKILL" else name
    call = ["bash", "-c", RECIPE, "recipe", str(ROOT), sys.executable, WORK, told]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    output, _ = process.communicate(timeout=120)  # until the command, too, has closed its end
    assert output == f"{told}\n"
    number = int(getattr(signal, name))
    assert process.returncode == (-number if name == "SIGKILL" else 128 + number)


def test_a_recipe_goes_on_after_its_command_and_ends_with_its_status() -> None:
    for code, status, output in (("pass", 0, "goes on\n"), ("import sys; sys.exit(3)", 3, "")):
        call = ["bash", "-c", RECIPE, "recipe", str(ROOT), sys.executable, code, ""]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (status, output)
