"""A training set that stays audio: its tables, statistics and batches are those of stored features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch

from dualtk.data.audio import count_samples, read_audio
from dualtk.data.columns import Wanted, keep, kept
from dualtk.data.dataset import FeatureDataset
from dualtk.data.drawn import DrawnUtterances
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set, require_statistics
from dualtk.data.kaldi import read_audio_sources
from dualtk.data.kinds import FeaturesOptions, count_frames, extract
from dualtk.data.loader import batch_loader
from dualtk.data.sampler import BatchesOptions
from dualtk.data.samples import SampleOptions
from dualtk.data.selection import select_utterances
from dualtk.data.storage import Source
from dualtk.errors import InputError

MELS = FbankOptions(num_mels=16)
BATCHES = BatchesOptions(max_frames=300, max_utterance_frames=300)


@dataclass(frozen=True)
class Options:
    """The sections of a configuration that are read here."""

    features: FeaturesOptions
    batches: BatchesOptions = BATCHES
    waveform: None = None
    joining: None = None


def made(directory: Path, source: Source, options: FeaturesOptions = MELS, **others: object) -> Path:
    out = directory.parent / "features"
    extract_set(directory, out, options, source=source, cmvn=True, progress=False, **others)  # type: ignore[arg-type]
    return out / (directory.name + ("_audio" if source == "audio" else ""))


def encode(text: str) -> list[int]:
    return [1 + ord(letter) % 20 for letter in text]


@pytest.mark.parametrize("options", [MELS, SampleOptions()])
@pytest.mark.parametrize("segments", [False, True])
def test_tables_and_statistics_are_those_of_stored_features(make_directory, tmp_path, options, segments) -> None:
    directory = make_directory(tmp_path / "train", 12)
    if segments:
        names = (directory / "wav.scp").read_text().split()[::2]
        (directory / "segments").write_text("".join(f"{name} {name} 0.05 0.25\n" for name in names))
        (directory / "utt2dur").unlink()
    stored, audio = made(directory, "stored", options), made(directory, "audio", options)
    for name in ("text", "utt2spk", "utt2num_frames", "utt2dur", "cmvn.ark", "fbank.json", "wav.scp"):
        assert (audio / name).read_bytes() == (stored / name).read_bytes(), name
    assert not (audio / "feats.scp").exists()
    assert not list(audio.glob("*.ark")) or [path.name for path in audio.glob("*.ark")] == ["cmvn.ark"]
    require_statistics(audio)


def test_statistics_of_a_sample_are_those_of_its_features(make_directory, tmp_path) -> None:
    directory = make_directory(tmp_path / "train", 40)
    feats = dict(kaldiio.load_scp(str(made(directory, "stored") / "feats.scp")).items())
    few = MELS.model_copy(update={"cmvn_utterances": 10})
    done = extract_set(directory, tmp_path / "features", few, source="audio", cmvn=True, progress=False)
    assert str(done) == "written, mean and variance of 10 of 40 utterances"
    stats = kaldiio.load_mat(str(tmp_path / "features/train_audio/cmvn.ark"))
    names = [sorted(feats)[index] for index in np.random.default_rng(0).permutation(40)[:10]]
    drawn = np.concatenate([feats[name] for name in names]).astype(np.float64)
    np.testing.assert_allclose(stats[0, :-1], drawn.sum(0))
    np.testing.assert_allclose(stats[1, :-1], (drawn**2).sum(0))
    assert stats[0, -1] == len(drawn)


def test_only_what_changed_is_looked_at_again(make_directory, write_audio, tmp_path) -> None:
    directory = make_directory(tmp_path / "train", 40)
    folder = made(directory, "audio")
    again = extract_set(directory, tmp_path / "features", MELS, source="audio", cmvn=True, progress=False)
    assert (again.extracted, again.tables) == (0, False)
    write_audio(directory / "audio/s0-000.wav", 0.7, seed=99)
    (directory / "utt2dur").unlink()
    after = extract_set(directory, tmp_path / "features", MELS, source="audio", cmvn=True, progress=False)
    assert 0 < after.extracted < 40
    assert "s0-000 70\n" in (folder / "utt2num_frames").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_stored_features(make_directory, tmp_path, num_workers) -> None:
    torch.set_num_threads(1)
    directory = make_directory(tmp_path / "train", 20)
    stored = FeatureDataset(select_utterances(made(directory, "stored"), encode))
    folder = made(directory, "audio")
    wanted = Wanted(folder, encode, 4, None, "audio")
    keep(tmp_path / "columns", wanted, None)
    for selection in (wanted.select(), kept(tmp_path / "columns", folder)):
        spoken = DrawnUtterances(FeatureDataset(selection, dim=16), Options(MELS), 4)
        for epoch in range(2):
            read = []
            for dataset in (stored, spoken):
                order = dataset.batches(BATCHES, seed=1, rank=0, world_size=1)
                order.start(epoch)
                read.append(list(batch_loader(dataset, order, num_workers)))
            assert len(read[0]) == len(read[1])
            for one, other in zip(*read):
                assert one.utterances == other.utterances
                assert torch.equal(one.feats, other.feats)
                assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 15999])
@pytest.mark.parametrize("speed", [1.0, 0.9, 1.1])
def test_lengths_are_known_without_decoding(write_audio, tmp_path, rate, speed) -> None:
    for number, seconds in enumerate((0.0251, 0.4, 0.40501)):
        audio = write_audio(tmp_path / f"{number}.wav", seconds, rate)
        (tmp_path / "wav.scp").write_text(f"u {audio}\n")
        source = read_audio_sources(tmp_path)["u"]
        samples, _ = read_audio(source)
        assert count_samples(source) == (len(samples), rate)
        for options in (FbankOptions(), SampleOptions()):
            try:
                expected: object = len(extract(samples, rate, options, speed))
            except InputError as error:
                expected = str(error)
            try:
                found: object = count_frames(len(samples), rate, options, speed)
            except InputError as error:
                found = str(error)
            assert found == expected
