"""Small corpora that the data tests make: noise with a slow envelope, seeded, as audio files and tables.

Test modules cannot import one another here, so each maker is handed out by a fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set, set_folder
from dualtk.data.kaldi import Utterance, write_data_directory
from dualtk.data.kinds import FeaturesOptions


def _write_audio(path: Path, seconds: float = 0.5, rate: int = 16000, channels: int = 1, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    samples = 0.1 * random.standard_normal((round(seconds * rate), channels))
    samples *= np.sin(np.linspace(0, 20 * seconds, len(samples)))[:, None] ** 2
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def _make_directory(directory: Path, count: int = 5, rate: int = 16000) -> Path:
    """A data directory of `count` utterances of two speakers, 0.3 s and longer."""
    utterances = []
    for index in range(count):
        speaker = f"s{index % 2}"
        name = f"{speaker}-{index:03d}"
        seconds = 0.3 + 0.1 * (index % 7)
        audio = _write_audio(directory / "audio" / f"{name}.wav", seconds, rate, seed=index)
        utterances.append(Utterance(name, speaker, str(audio), f"WORD NUMBER {'ABCDEFG'[index % 7]}", seconds))
    write_data_directory(directory, utterances)
    return directory


def _make_librispeech(root: Path, name: str = "dev-clean", speakers: int = 2, count: int = 3) -> Path:
    """A set in LibriSpeech's layout."""
    for speaker in range(speakers):
        chapter = root / name / f"{speaker + 10}" / "7"
        lines = []
        for number in range(count):
            utterance = f"{speaker + 10}-7-{number:04d}"
            _write_audio(chapter / f"{utterance}.flac", 0.4, seed=speaker * 100 + number)
            lines.append(f"{utterance} HELLO WORLD {'ABC'[number % 3]}\n")
        (chapter / f"{speaker + 10}-7.trans.txt").write_text("".join(lines))
    return root / name


def _replace_line(path: Path, number: int, line: str | None) -> None:
    """Put another line (None: no line) in place of line `number`, counted from 1."""
    lines = path.read_text().splitlines(keepends=True)
    lines[number - 1 : number] = [] if line is None else [line + "\n"]
    path.write_text("".join(lines))


def _extract(directory: Path, options: FeaturesOptions | None = None, **arguments: object) -> Path:
    """Features of a data directory, in the folder `features` beside it."""
    out, speeds = directory.parent / "features", arguments.get("speeds", (1.0,))
    extract_set(directory, out, options or FbankOptions(), progress=False, **arguments)  # type: ignore[arg-type]
    return set_folder(directory, out, speeds)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def extract_features() -> Callable[..., Path]:
    return _extract


@pytest.fixture(scope="session")
def write_audio() -> Callable[..., Path]:
    return _write_audio


@pytest.fixture(scope="session")
def make_directory() -> Callable[..., Path]:
    return _make_directory


@pytest.fixture(scope="session")
def make_librispeech() -> Callable[..., Path]:
    return _make_librispeech


@pytest.fixture(scope="session")
def replace_line() -> Callable[..., None]:
    return _replace_line
