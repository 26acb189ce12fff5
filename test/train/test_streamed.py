"""Training from audio and from shards: the weights are those of stored features, and no utterance is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import WORDS, train_arguments
from two_processes import WORKER, torchrun

from dualtk.bin import features as features_command
from dualtk.bin import shard, train
from dualtk.bin.dualtk import run
from dualtk.data.kaldi import Utterance, list_utterances, write_data_directory
from dualtk.tables import read_table

pytestmark = pytest.mark.slow

AUDIO = ["features.source=audio", "batches.cache=false", "batches.num_workers=2"]


@pytest.fixture(scope="module")
def spoken(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features (`stored/train`, `stored/dev`), audio (`audio/train_audio`), shards, and `lang`."""
    folder = tmp_path_factory.mktemp("spoken")
    for part, count in (("train", 24), ("dev", 4)):
        random = np.random.default_rng(count)
        utterances = []
        for number in range(count):
            name, seconds = f"{part}-{number:03d}", 0.3 + 0.3 * random.random()
            samples = 0.1 * random.standard_normal(round(16000 * seconds)) * np.linspace(0, 1, round(16000 * seconds))
            path = folder / "wav" / f"{name}.flac"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, samples, 16000)
            utterances.append(Utterance(name, name, str(path), " ".join(random.choice(WORDS, 2)), seconds))
        write_data_directory(folder / "data" / part, utterances)
    config = [*train_arguments(corpus, folder)[:2], "--set", "features.num_mels=16"]
    train_dir, dev = str(folder / "data/train"), str(folder / "data/dev")
    assert run(features_command.main, [*config, "--out", str(folder / "stored"), "--train", train_dir, dev]) == 0
    audio = ["--set", "features.source=audio", "--out", str(folder / "audio")]
    assert run(features_command.main, [*config, *audio, "--train", train_dir]) == 0
    for source, made in (("stored", "stored/train"), ("audio", "audio/train_audio")):
        arguments = [str(folder / made), str(folder / f"shards-{source}"), "--hours", "0.0004"]
        assert run(shard.main, arguments) == 0
    (folder / "lang").symlink_to(corpus / "lang")
    return folder


def arguments(spoken: Path, train_dir: str, exp: Path, *overrides: str) -> list[str]:
    call = train_arguments(spoken, exp, *overrides)
    call[call.index("--train-dir") + 1] = str(spoken / train_dir)
    call[call.index("--dev-dir") + 1] = str(spoken / "stored/dev")
    return call


def trained(spoken: Path, train_dir: str, exp: Path, *overrides: str) -> bytes:
    assert run(train.main, arguments(spoken, train_dir, exp, *overrides)) == 0
    return (exp / "model.safetensors").read_bytes()


def test_audio_and_stored_features_give_the_same_weights(spoken: Path, tmp_path: Path) -> None:
    assert not (spoken / "audio/train_audio/feats.scp").exists()
    stored = trained(spoken, "stored/train", tmp_path / "stored")
    assert trained(spoken, "audio/train_audio", tmp_path / "audio", *AUDIO) == stored


def test_shards_of_audio_and_of_features_give_the_same_weights(spoken: Path, tmp_path: Path) -> None:
    """And a run that was stopped goes on with the same bytes."""
    stored = trained(spoken, "shards-stored", tmp_path / "stored", "batches.shard_window=2")
    options = [*AUDIO, "batches.shard_window=2"]
    assert trained(spoken, "shards-audio", tmp_path / "audio", *options) == stored
    (tmp_path / "worker.py").write_text(WORKER)
    call = [str(tmp_path / "worker.py"), str(tmp_path / "taken"), "5"]
    again = arguments(spoken, "shards-audio", tmp_path / "again", *options)
    torchrun(*call, *again, processes=1, status=1, may_warn=True)
    assert trained(spoken, "shards-audio", tmp_path / "again", *options) == stored


def test_no_utterance_of_shards_is_left_out_or_repeated(spoken: Path, tmp_path: Path) -> None:
    """Three processes, then two, then one, from the audio in shards."""
    (tmp_path / "worker.py").write_text(WORKER)
    options = [*AUDIO, "batches.shard_window=1", "train.max_steps=8 epochs", "batches.max_frames=120"]
    call = arguments(spoken, "shards-audio", tmp_path / "exp", *options)
    for processes, last, status in ((3, 3, 1), (2, 7, 1), (1, 0, 0)):
        worker = (str(tmp_path / "worker.py"), str(tmp_path / f"taken{processes}"), str(last))
        torchrun(*worker, *call, processes=processes, status=status, may_warn=True)
    counts = Counter(line for path in tmp_path.glob("taken*") for line in path.read_text().splitlines())
    names = list(list_utterances(spoken / "data/train").entries)
    whole = max(int(line.split()[0]) for line in counts)
    assert whole >= 2
    assert {counts[f"{epoch} {name}"] for epoch in range(whole) for name in names} == {1}
    assert max(counts.values()) == 1


def test_a_spoilt_utterance_is_left_out(spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the audio that has changed since stage 1."""
    scp = read_table(spoken / "audio/train_audio/wav.scp")
    spoilt = Path(scp["train-003"])
    content = spoilt.read_bytes()
    spoilt.write_bytes(content[:200])
    try:
        call = arguments(spoken, "audio/train_audio", tmp_path / "exp", *AUDIO)
        assert run(train.main, call) == 2
        assert "dualtk: error: utterance train-003: " in capsys.readouterr().err
        assert run(train.main, [*call, "--max-bad", "1"]) == 0
    finally:
        spoilt.write_bytes(content)
    assert list(read_table(tmp_path / "exp/left_out")) == ["train-003"]
    assert "left out: utterance train-003: " in (tmp_path / "exp/train.log").read_text()
