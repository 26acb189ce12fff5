"""Shards: what webdataset and Kaldi's reader find in them, and that training reads what it did without them."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
import webdataset

from dualtk.bin import shard
from dualtk.bin.dualtk import run
from dualtk.checksums import file_digest
from dualtk.data import remote
from dualtk.data.columns import Wanted, keep, kept
from dualtk.data.dataset import FeatureDataset
from dualtk.data.drawn import DrawnUtterances
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set
from dualtk.data.joining import JoiningOptions
from dualtk.data.loader import batch_loader
from dualtk.data.sampler import BatchesOptions
from dualtk.data.selection import select_utterances
from dualtk.data.shard_sets import mix, take_tables
from dualtk.data.shards import member_name, write_shards
from dualtk.data.storage import Source
from dualtk.data.validation import validate
from dualtk.data.waveform import WaveformOptions
from dualtk.errors import InputError
from dualtk.tables import read_json, read_table

MELS = FbankOptions(num_mels=16)
BATCHES = BatchesOptions(max_frames=200, shard_window=2, num_workers=0)
HOURS = 2.0 / 3600  # of a shard: about five utterances


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def folder(directory: Path, source: Source, **others: object) -> Path:
    out = directory.parent / "features"
    extract_set(directory, out, MELS, source=source, cmvn=True, progress=False, **others)  # type: ignore[arg-type]
    suffix = "_audio" if source == "audio" else "_sp" if "speeds" in others else ""
    return out / (directory.name + suffix)


def encode(text: str) -> list[int]:
    return [1 + ord(letter) % 20 for letter in text]


class Options:
    """The sections of a configuration that are read here."""

    features, batches = MELS, BATCHES

    def __init__(self, waveform: WaveformOptions | None = None, joining: JoiningOptions | None = None) -> None:
        self.waveform, self.joining = waveform, joining


def samples_of(out: Path) -> dict[str, dict[str, bytes]]:
    """What webdataset's own reader gives."""
    urls = sorted(str(path) for path in out.glob("*.tar"))
    found = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    return {one["__key__"]: {key: value for key, value in one.items() if key[0] != "_"} for one in found}


@pytest.mark.slow
@pytest.mark.parametrize("num_jobs", [1, 2])
def test_webdataset_and_kaldi_read_the_features(make_directory, tmp_path, num_jobs) -> None:
    made = folder(make_directory(tmp_path / "train", 12), "stored", speeds=(0.9, 1.0))
    done = write_shards(made, tmp_path / "shards", "stored", hours=HOURS, num_jobs=num_jobs, progress=False)
    assert done.shards > 3
    stored, texts = dict(kaldiio.load_scp(str(made / "feats.scp")).items()), read_table(made / "text")
    found = samples_of(tmp_path / "shards")
    assert found.keys() == {member_name(name) for name in stored}
    for name, matrix in stored.items():
        sample = found[member_name(name)]
        (tmp_path / "one.ark").write_bytes(sample["ark"])
        np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "one.ark")), matrix)
        assert sample["txt"].decode() == texts[name]
    lines = {name: f"{tmp_path}/shards/{place}" for name, place in read_table(tmp_path / "shards/feats.scp").items()}
    for name, place in lines.items():
        np.testing.assert_array_equal(kaldiio.load_mat(place), stored[name])
    assert validate(tmp_path / "shards") == []


@pytest.mark.parametrize("segments", [False, True])
def test_webdataset_reads_the_audio(make_directory, tmp_path, segments) -> None:
    directory = make_directory(tmp_path / "train", 12)
    if segments:
        names = list(read_table(directory / "wav.scp"))
        (directory / "segments").write_text("".join(f"{name} {name} 0.05 0.25\n" for name in names))
        (directory / "utt2dur").unlink()
    write_shards(folder(directory, "audio"), tmp_path / "shards", "audio", hours=HOURS, progress=False)
    for name, sample in samples_of(tmp_path / "shards").items():
        original = directory / "audio" / f"{name}.wav"
        if not segments:
            assert sample["wav"] == original.read_bytes()
            continue
        part, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
        np.testing.assert_array_equal(part, soundfile.read(original, dtype="int16")[0][rate // 20 : rate // 4])
    assert validate(tmp_path / "shards", decode_audio=True) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", ["features", "audio", "audio of segments"])
@pytest.mark.parametrize("is_large", [False, True])
def test_training_reads_the_same_utterances(make_directory, tmp_path, content, is_large) -> None:
    """To the bit, whatever the number of workers; and a stopped epoch goes on."""
    directory = make_directory(tmp_path / "train", 24)
    if "segments" in content:
        names = list(read_table(directory / "wav.scp"))
        (directory / "segments").write_text("".join(f"{name} {name} 0.05 0.25\n" for name in names))
        (directory / "utt2dur").unlink()
    stored = FeatureDataset(select_utterances(folder(directory, "stored"), encode))
    expected = {example.name: example for example in map(stored.__getitem__, range(24))}
    source: Source = "stored" if content == "features" else "audio"
    out = tmp_path / "shards"
    write_shards(folder(directory, source), out, source, hours=HOURS, progress=False)
    wanted = Wanted(out, encode, 4, None, source)
    selection = wanted.select()
    if is_large:
        keep(tmp_path / "columns", wanted, None)
        selection = kept(tmp_path / "columns", out)
    dataset = FeatureDataset(selection, dim=None if source == "stored" else 16)
    train_set = dataset if source == "stored" else DrawnUtterances(dataset, Options(), 4)

    def epoch(workers: int, first: int = 0) -> list[tuple[list[str], torch.Tensor]]:
        order = train_set.batches(BATCHES, seed=1, rank=0, world_size=1)
        order.start(1, first)
        return [(one.utterances, one.feats) for one in batch_loader(train_set, order, workers)]

    whole = epoch(0)
    for names, feats in whole:
        for name, row in zip(names, feats):
            example = expected.pop(name)
            assert torch.equal(row[: len(example.feats)], example.feats)
    assert not expected
    for again in (epoch(2), whole[:3] + epoch(2, 3)):
        assert [names for names, _ in again] == [names for names, _ in whole]
        assert all(torch.equal(one, other) for (_, one), (_, other) in zip(again, whole))


def test_utterances_of_one_shard_are_joined(make_directory, tmp_path) -> None:
    write_shards(
        folder(make_directory(tmp_path / "train", 30), "audio"),
        tmp_path / "shards",
        "audio",
        hours=HOURS,
        progress=False,
    )
    dataset = FeatureDataset(select_utterances(tmp_path / "shards", encode, source="audio"), dim=16)
    joining = JoiningOptions(probability=1.0, most=3, pause=(0.1, 0.2))
    drawn = DrawnUtterances(dataset, Options(WaveformOptions(speeds=(0.9, 1.1)), joining), 4)
    order = drawn.batches(BatchesOptions(max_frames=400), seed=1, rank=0, world_size=1)
    order.start(0)
    shard_of = {name: place.partition(":")[0] for name, place in read_table(tmp_path / "shards/wav.scp").items()}
    groups = [name.split("+") for batch in batch_loader(drawn, order) for name in batch.utterances]
    assert sorted(name for group in groups for name in group) == sorted(shard_of)
    assert {len({shard_of[name] for name in group}) for group in groups} == {1}
    assert max(map(len, groups)) > 1


def test_a_killed_run_keeps_its_shards_and_bad_ones_are_named(make_directory, tmp_path) -> None:
    directory = make_directory(tmp_path / "train", 12)
    made = folder(directory, "audio")
    (directory / "audio/s1-003.wav").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"utterance s1-003: .*s1-003\.wav: cannot be decoded"):
        write_shards(made, tmp_path / "shards", "audio", hours=HOURS, progress=False)
    assert not (tmp_path / "shards/wav.scp").exists()
    finished = len(list((tmp_path / "shards/.tars").glob("*.json")))
    done = write_shards(made, tmp_path / "shards", "audio", hours=HOURS, max_bad=1, progress=False)
    assert done.written == done.shards - finished
    assert list(read_table(tmp_path / "shards/left_out")) == ["s1-003"]
    for name in ("wav.scp", "text", "utt2spk", "utt2num_frames"):
        assert len(read_table(tmp_path / "shards" / name)) == 11
    assert write_shards(made, tmp_path / "shards", "audio", hours=HOURS, max_bad=1, progress=False).written == 0
    with pytest.raises(InputError, match="exists and is no folder of shards"):
        write_shards(made, directory, "audio", hours=HOURS, progress=False)


def test_shards_move_as_a_whole(make_directory, tmp_path, monkeypatch) -> None:
    made = folder(make_directory(tmp_path / "train", 12), "stored")
    write_shards(made, tmp_path / "shards", "stored", hours=HOURS, progress=False)
    os.rename(tmp_path / "shards", tmp_path / "moved")
    monkeypatch.chdir("/")
    dataset = FeatureDataset(select_utterances(tmp_path / "moved", encode))
    assert dataset.shards is not None
    assert all(len(dataset[index].feats) for index in range(12))


@pytest.mark.parametrize("source", ["stored", "audio"])
def test_shards_at_a_url(make_directory, tmp_path, source) -> None:
    """One of the file systems that fsspec opens."""
    import fsspec

    made = folder(make_directory(tmp_path / "train", 12), source)
    write_shards(made, tmp_path / "shards", source, hours=HOURS, progress=False)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "shards") + "/", f"/{source}", recursive=True)
    check_remote(f"memory://{source}", made, tmp_path, source)
    with pytest.raises(InputError, match=r"memory://nowhere/shards\.json: cannot be fetched: FileNotFoundError"):
        take_tables("memory://nowhere", tmp_path / "other")


def check_remote(url: str, made: Path, tmp_path: Path, source: Source) -> None:
    number = take_tables(url, tmp_path / "remote", tmp_path / "cache")
    dim = None if source == "stored" else 16
    dataset = FeatureDataset(select_utterances(tmp_path / "remote", encode, source=source), dim=dim)
    train_set = dataset if source == "stored" else DrawnUtterances(dataset, Options(), 4)
    order = train_set.batches(BATCHES, seed=1, rank=0, world_size=1)
    names = [name for batch in batch_loader(train_set, order) for name in batch.utterances]
    assert sorted(names) == sorted(read_table(made / "text"))
    assert len(list((tmp_path / "cache").glob("*.tar"))) == number


def test_what_is_fetched_makes_room(tmp_path) -> None:
    """The one whose use lies back furthest goes, and comes back when it is wanted."""
    for name in "abc":
        (tmp_path / f"{name}.tar").write_bytes(name.encode() * 1000)
    (tmp_path / "set").mkdir()
    shards = [
        {"file": f"file://{tmp_path}/{name}.tar", "sha256": file_digest(tmp_path / f"{name}.tar")} for name in "abc"
    ]
    facts = {"source": "audio", "shards": shards, "cache_gb": 2.5e-6}
    (tmp_path / "set/shards.json").write_text(json.dumps(facts))
    for number, name in enumerate("abac"):
        path = remote.fetched(f"file://{tmp_path}/{name}.tar", tmp_path / "set")
        assert path.read_bytes() == name.encode() * 1000
        os.utime(path, (number, number))
    assert {path.name.partition("-")[2] for path in (tmp_path / "set/cache").glob("*.tar")} == {"a.tar", "c.tar"}


def test_what_is_fetched_is_what_was_written(tmp_path) -> None:
    """Not a shard that changed, and not one of the same name from elsewhere in the same cache."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tar").write_bytes(name.encode())
        url = f"file://{tmp_path}/{name}/a.tar"
        shards = [{"file": url, "sha256": file_digest(tmp_path / name / "a.tar")}]
        facts = {"source": "audio", "cache": str(tmp_path / "cache"), "shards": shards}
        (tmp_path / name / "shards.json").write_text(json.dumps(facts))
        assert remote.fetched(url, tmp_path / name).read_bytes() == name.encode()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "one/a.tar").write_bytes(b"onf")
    with pytest.raises(InputError, match=r"one/a\.tar: altered or cut short: its SHA-256 is .*, shards\.json says"):
        remote.fetched(f"file://{tmp_path}/one/a.tar", tmp_path / "one")
    assert not list((tmp_path / "cache").glob("*.tar"))


def test_corpora_are_mixed(make_directory, tmp_path, capsys) -> None:
    """By how often, or by hours; mean and variance are those of what an epoch reads."""
    for name, count in (("one", 10), ("two", 20)):
        directory = make_directory(tmp_path / name, count)
        for table in ("text", "utt2spk", "utt2dur", "wav.scp"):
            lines = (directory / table).read_text().splitlines()
            (directory / table).write_text("".join(f"{name}-{line}\n" for line in lines))
        (directory / "spk2utt").unlink()
        made = folder(directory, "stored")
        write_shards(made, tmp_path / f"shards-{name}", "stored", hours=HOURS, progress=False)
    parts = ["--mix", f"{tmp_path}/shards-one=3", "--mix", f"{tmp_path}/shards-two=0.001h", str(tmp_path / "both")]
    assert run(shard.main, parts) == 0
    assert "both: 30 utterances: " in capsys.readouterr().out
    dataset = FeatureDataset(select_utterances(tmp_path / "both", encode))
    frames = {
        name: sum(map(int, read_table(tmp_path / f"shards-{name}/utt2num_frames").values())) for name in ("one", "two")
    }
    weight = 0.001 * 360000 / frames["two"]
    expected = [kaldiio.load_mat(str(tmp_path / f"shards-{name}/cmvn.ark")) for name in ("one", "two")]
    np.testing.assert_allclose(
        kaldiio.load_mat(str(tmp_path / "both/cmvn.ark")), 3 * expected[0] + weight * expected[1], rtol=1e-6
    )
    order = dataset.batches(BATCHES, seed=1, rank=0, world_size=1)
    names = [name for batch in batch_loader(dataset, order) for name in batch.utterances]
    assert sum(name.startswith("one") for name in names) == 30
    assert {names.count(name) for name in names if name.startswith("one")} == {3}
    assert 0 < sum(name.startswith("two") for name in names) <= 20
    with pytest.raises(InputError, match=r"utt2spk: utterance one-s0-000 is in another of the directories too"):
        mix([(tmp_path / "shards-one", 1.0), (tmp_path / "both", 1.0)], tmp_path / "third")
    assert read_json(tmp_path / "both/shards.json")["shards"][0]["weight"] == 3.0
