"""A small world to do things wrong in: a corpus with audio, features and tokens of it, and a network that decodes."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
from small_experiment import write_experiment
from small_networks import speech
from tiny import CONFIG, TINY, WORDS

from dualtk.bin.dualtk import dispatch, run

MELS = ["--set", "features.num_mels=16"]
TEXTS = [" ".join(WORDS[k : k + 3]) for k in range(6)]


@dataclass
class Result:
    """Exit status and what was said."""

    status: int
    out: str
    err: str


@dataclass
class World:
    """Folders `corpus` (audio), `made` (features of it), `lang` and `exp` under `path`, which is the current folder."""

    path: Path

    def __call__(self, *arguments: object) -> Result:
        """Run a command of dualtk."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = run(dispatch, [str(argument) for argument in arguments])
            except SystemExit as end:
                status = int(end.code or 0)
        return Result(status, out.getvalue(), err.getvalue())

    def refused(self, *arguments: object) -> str:
        """Run a command that must be refused: status 2, and one line, which is returned."""
        result = self(*arguments)
        lines = [line for line in result.err.splitlines() if "error:" in line]
        assert result.status == 2, result
        assert "Traceback" not in result.err
        assert len(lines) == 1, result.err
        return lines[0]

    def decode(self, *arguments: object) -> tuple[object, ...]:
        """A command line that decodes `made/corpus`."""
        data = () if "--data" in arguments else ("--data", "made/corpus")
        out = () if "--out" in arguments else ("--out", "decoded")
        return ("decode", "--exp", "exp", "--mode", "full", "--device", "cpu", *data, *out, *arguments)

    def train(self, *changes: str) -> list[str]:
        """A command line that trains two steps."""
        options = ["train", "--config", str(CONFIG), "--exp", "new", "--tokens", "lang", "--device", "cpu"]
        options += ["--train-dir", "made/corpus", "--dev-dir", "made/corpus", "--threads", "1"]
        for change in [*TINY, "train.max_steps=2", "train.validate_every=1", "train.save_every=1", *changes]:
            options += ["--set", change]
        return options

    def make_features(self, *data: object) -> Result:
        """Run stage 1 on a data directory (`corpus`)."""
        return self("features", *MELS, "--out", "made", "--train", *(data or ("corpus",)))


def write_corpus(folder: Path, seconds: float = 1.0, rate: int = 16000) -> None:
    """A Kaldi data directory of six utterances of two speakers."""
    (folder / "audio").mkdir(parents=True)
    names = [f"s{1 + index // 3}-u{index}" for index in range(6)]
    for index, name in enumerate(names):
        soundfile.write(folder / f"audio/{name}.wav", speech(round(seconds * rate), index).numpy(), rate, "PCM_16")
    (folder / "wav.scp").write_text("".join(f"{name} {folder.resolve()}/audio/{name}.wav\n" for name in names))
    (folder / "text").write_text("".join(f"{name} {text}\n" for name, text in zip(names, TEXTS)))
    (folder / "utt2spk").write_text("".join(f"{name} {name[:2]}\n" for name in names))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `corpus`, `made`, `lang` and `exp`, which every world begins as."""
    folder = tmp_path_factory.mktemp("faults") / "model"
    write_experiment(folder / "exp")
    write_corpus(folder / "corpus")
    shutil.copytree(folder / "exp/lang", folder / "lang")
    return folder


@pytest.fixture
def world(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world, in a folder whose name has a space."""
    path = tmp_path / "a world"
    shutil.copytree(model, path)
    scp = path / "corpus/wav.scp"
    scp.write_text(scp.read_text().replace(str(model.resolve()), str(path.resolve())))
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    return World(path)


@pytest.fixture
def made(world: World) -> World:
    """The same with features."""
    result = world.make_features()
    assert result.status == 0, result
    return world


def edit(path: str | Path, change: Callable[[str], str]) -> None:
    """Rewrite a text."""
    Path(path).write_text(change(Path(path).read_text(encoding="utf-8")), encoding="utf-8")
