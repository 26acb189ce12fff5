"""Utterances that cannot be read are left out up to a number, each named with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualtk.bin import features
from dualtk.bin.dualtk import run
from dualtk.data.dataset import FeatureDataset
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set
from dualtk.data.loader import batch_loader
from dualtk.data.sampler import BatchesOptions
from dualtk.data.selection import select_utterances
from dualtk.data.validation import validate
from dualtk.errors import InputError
from dualtk.tables import read_table
from dualtk.train.left_out import LeftOut

MELS = FbankOptions(num_mels=16)
BATCHES = BatchesOptions(max_frames=200)
TABLES = ("text", "utt2spk", "utt2num_frames", "utt2dur", "wav.scp")


@pytest.fixture
def directory(make_directory, tmp_path: Path) -> Path:
    """Two of twelve cannot be read: one is no audio, one is not there."""
    made = make_directory(tmp_path / "train", 12)
    (made / "audio/s0-002.wav").write_bytes(b"RIFF of nothing")
    (made / "audio/s1-003.wav").unlink()
    return Path(made)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["stored", "audio"])
@pytest.mark.parametrize("num_jobs", [1, 2])
def test_features_without_them(directory: Path, tmp_path: Path, source, num_jobs) -> None:
    out = tmp_path / "features"
    folder = out / ("train" if source == "stored" else "train_audio")
    arguments = {"source": source, "cmvn": True, "num_jobs": num_jobs, "progress": False}
    with pytest.raises(InputError, match=r"s1-003: no audio file"):
        extract_set(directory, out, MELS, **arguments)
    with pytest.raises(
        InputError, match=r"train: 2 utterances cannot be read, more than --max-bad 1; utterance s"
    ) as e:
        extract_set(directory, out, MELS, max_bad=1, **arguments)
    assert "\n" not in str(e.value)
    assert not (folder / "cmvn.ark").exists()
    done = extract_set(directory, out, MELS, max_bad=2, **arguments)
    assert set(done.bad) == {"s0-002", "s1-003"}
    left_out = read_table(folder / "left_out")
    assert "s0-002.wav: cannot be decoded" in left_out["s0-002"]
    assert left_out["s1-003"].startswith(f"{directory}/wav.scp:8: no audio file ")
    names = set(read_table(directory / "text")) - left_out.keys()
    for table in (*TABLES, *(["feats.scp", "utt2crc"] if source == "stored" else [])):
        assert read_table(folder / table).keys() == names, table
    assert validate(folder) == []
    assert not extract_set(directory, out, MELS, max_bad=2, **arguments).tables
    with pytest.raises(InputError):
        extract_set(directory, out, MELS, **arguments)


def test_what_was_repaired_comes_back(directory: Path, write_audio, tmp_path: Path) -> None:
    extract_set(directory, tmp_path / "features", MELS, max_bad=2, progress=False)
    write_audio(directory / "audio/s0-002.wav", 0.5)
    write_audio(directory / "audio/s1-003.wav", 0.6)
    extract_set(directory, tmp_path / "features", MELS, progress=False)
    assert len(read_table(tmp_path / "features/train/feats.scp")) == 12
    assert not (tmp_path / "features/train/left_out").exists()


def test_recordings_of_segments(directory: Path, tmp_path: Path) -> None:
    """What is left out are the segments of a recording that is not there, and not the others."""
    recordings = list(read_table(directory / "wav.scp"))
    segments = {f"{name}-{part}": f"{name} 0.{part} 0.2{part}" for name in recordings for part in (0, 1)}
    for table in ("text", "utt2spk"):
        values = read_table(directory / table)
        (directory / table).write_text("".join(f"{name} {values[name[:-2]]}\n" for name in segments))
    (directory / "segments").write_text("".join(f"{name} {value}\n" for name, value in segments.items()))
    (directory / "utt2dur").unlink()
    (directory / "spk2utt").unlink()
    done = extract_set(directory, tmp_path / "features", MELS, max_bad=4, progress=False)
    assert sorted(done.bad) == ["s0-002-0", "s0-002-1", "s1-003-0", "s1-003-1"]
    assert read_table(tmp_path / "features/train/segments").keys() == segments.keys() - done.bad.keys()


def test_the_command_says_what_it_leaves_out(directory: Path, tmp_path: Path, capsys) -> None:
    call = [str(directory), "--out", str(tmp_path / "out"), "--max-bad", "5"]
    assert run(features.main, call) == 0
    said = f"{tmp_path}/out/train: 2 utterances left out, for they cannot be read: see {tmp_path}/out/train/left_out\n"
    assert capsys.readouterr().err == said


@pytest.fixture
def damaged(make_directory, extract_features, tmp_path: Path) -> Path:
    """Features of 20 utterances, of which those of two have lost their bytes."""
    folder = Path(extract_features(make_directory(tmp_path / "train", 20), MELS))
    for name in ("s0-004", "s1-007"):
        place, _, offset = read_table(folder / "feats.scp")[name].rpartition(":")
        with open(place, "r+b") as stream:
            stream.seek(int(offset))
            stream.write(b"\1" * 8)
    return folder


def loaded(folder: Path, leave_out: LeftOut, num_workers: int, max_frames: int = 200) -> tuple[list[str], list[float]]:
    dataset = FeatureDataset(select_utterances(folder))
    options = BATCHES.model_copy(update={"max_frames": max_frames})
    batches = list(
        batch_loader(dataset, dataset.batches(options, seed=1, rank=0, world_size=1), num_workers, False, leave_out)
    )
    counted = [name for batch in batches if batch.share for name in batch.utterances]
    return sorted(counted), [batch.share for batch in batches]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_without_them(damaged: Path, tmp_path: Path, num_workers: int) -> None:
    every = set(read_table(damaged / "feats.scp"))
    names, shares = loaded(damaged, LeftOut(tmp_path / "left_out", 2, damaged), num_workers)
    assert set(names) == every - {"s0-004", "s1-007"}
    assert len(names) == 18
    assert set(shares) == {1.0}
    listed = read_table(tmp_path / "left_out", ordered=False)
    assert set(listed) == {"s0-004", "s1-007"}
    assert all("no Kaldi matrix there" in reason for reason in listed.values())
    loaded(damaged, LeftOut(tmp_path / "left_out", 2, damaged), num_workers)  # a run that goes on
    assert read_table(tmp_path / "left_out", ordered=False) == listed
    with pytest.raises(InputError, match=r"2 utterances cannot be read, more than --max-bad 1; .*utterance "):
        loaded(damaged, LeftOut(tmp_path / "other", 1, damaged), num_workers)
    with pytest.raises(InputError, match=r"feats\.scp: utterance s[01]-00[47]: .*no Kaldi matrix there"):
        loaded(damaged, LeftOut(tmp_path / "none", 0, damaged), num_workers)
    assert not (tmp_path / "none").exists()


def test_a_batch_of_nothing_else_counts_nothing(damaged: Path, tmp_path: Path) -> None:
    """Every utterance is a batch: in two of the steps another stands in, the same one each time."""
    torch.set_num_threads(1)
    first = loaded(damaged, LeftOut(tmp_path / "left_out", 2, damaged), 0, max_frames=1)
    assert first[1].count(0.0) == 2
    assert len(set(first[0])) == 18 == len(first[0])
    assert loaded(damaged, LeftOut(tmp_path / "left_out", 2, damaged), 2, max_frames=1) == first


def test_processes_count_together(tmp_path: Path, damaged: Path) -> None:
    """What one process met counts for the others, and what both met counts once."""
    ranks = [LeftOut(tmp_path / "left_out", 2, damaged) for _ in range(2)]
    dataset = FeatureDataset(select_utterances(damaged))
    faults = []
    for index in range(len(dataset)):
        try:
            dataset[index]
        except InputError as error:
            faults.append(error)
    ranks[0](faults[:1])
    ranks[1](faults)
    assert len((tmp_path / "left_out").read_text().splitlines()) == 2
    third = type(faults[0])("s1-999", "utterance s1-999: spoilt")
    with pytest.raises(InputError, match="3 utterances cannot be read, more than --max-bad 2; "):
        ranks[0]([third])
