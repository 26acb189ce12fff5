"""From a data directory to padded batches, through torch's DataLoader."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualtk.data.arks import write_entry
from dualtk.data.batches import Batch, collate
from dualtk.data.dataset import FeatureDataset
from dualtk.data.loader import batch_loader
from dualtk.data.sampler import BatchesOptions
from dualtk.data.selection import select_utterances
from dualtk.errors import InputError
from dualtk.tables import write_table


def encode(text: str) -> list[int]:
    return [len(word) for word in text.split()]


@pytest.fixture
def directory(tmp_path):
    random = np.random.default_rng(0)
    lengths = {f"u{index:02d}": int(length) for index, length in enumerate(random.integers(5, 60, 20))}
    with (tmp_path / "feats.1.ark").open("wb") as stream:
        matrices = {name: random.standard_normal((length, 8)).astype(np.float32) for name, length in lengths.items()}
        offsets = {name: write_entry(stream, name, matrix) for name, matrix in matrices.items()}
    write_table(tmp_path / "feats.scp", {name: f"{tmp_path}/feats.1.ark:{offset}" for name, offset in offsets.items()})
    write_table(tmp_path / "utt2num_frames", lengths)
    write_table(tmp_path / "text", {name: " ".join(["AB", "C"] * (1 + length % 3)) for name, length in lengths.items()})
    return tmp_path


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("cache", [False, True])
def test_loader(directory, num_workers, cache):
    selection = select_utterances(directory, encode)
    dataset = FeatureDataset(selection, cache)
    assert dataset.dim == 8
    sampler = BatchesOptions(max_frames=200).build(FeatureDataset(selection).lengths, shuffle=True, seed=1)
    sampler.start(1)
    batches = list(batch_loader(dataset, sampler, num_workers))
    assert sorted(name for batch in batches for name in batch.utterances) == [entry.name for entry in selection.entries]
    by_name = {entry.name: index for index, entry in enumerate(selection.entries)}
    for batch in batches:
        assert batch.feats.dtype == torch.float32
        assert batch.targets.dtype == batch.feat_lengths.dtype == batch.target_lengths.dtype == torch.int64
        assert batch.feats.shape[:2] == (len(batch.utterances), int(batch.feat_lengths.max()))
        for row, name in enumerate(batch.utterances):
            example, length = dataset[by_name[name]], int(batch.feat_lengths[row])
            assert torch.equal(batch.feats[row, :length], example.feats)
            assert not batch.feats[row, length:].any()
            assert batch.targets[row, : batch.target_lengths[row]].tolist() == example.targets.tolist()
            assert not batch.targets[row, batch.target_lengths[row] :].any()


def test_loading_leaves_the_random_state_alone(directory):
    selection = select_utterances(directory, encode)
    loader = batch_loader(
        dataset := FeatureDataset(selection), BatchesOptions(max_frames=200).build(dataset.lengths, shuffle=True)
    )
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_to():
    batch = collate(list(_examples()))
    moved = batch.to(torch.device("cpu"))
    assert isinstance(moved, Batch)
    assert moved.utterances == ["a", "b"]
    assert moved.targets.tolist() == [[1, 2], [0, 0]]
    assert moved.target_lengths.tolist() == [2, 0]


def _examples():
    from dualtk.data.batches import Example

    return [
        Example("a", torch.ones(3, 2), torch.tensor([1, 2])),
        Example("b", torch.ones(5, 2), torch.tensor([], dtype=torch.int64)),
    ]


def test_without_text(directory):
    (directory / "text").unlink()
    assert all(entry.targets == () for entry in select_utterances(directory).entries)


def test_too_short_is_refused(directory):
    short = min(entry.num_frames for entry in select_utterances(directory).entries)
    with pytest.raises(
        InputError, match=rf"utt2num_frames:\d+: utterance u\d\d has {short} frames, less than one output"
    ):
        select_utterances(directory, encode, min_frames=short + 1)


def test_too_long_is_left_out_and_named(directory):
    selection = select_utterances(directory, encode, max_utterance_frames=30)
    assert max(entry.num_frames for entry in selection.entries) <= 30
    assert len(selection.entries) + len(selection.dropped) == 20
    assert "more than batches.max_utterance_frames (30): left out" in selection.dropped[0]
    with pytest.raises(InputError, match=r"no utterance is left; first: .*utterance u00"):
        select_utterances(directory, encode, max_utterance_frames=4)


def test_missing_transcript_and_count(directory, replace_line):
    replace_line(directory / "text", 3, None)
    with pytest.raises(InputError, match=r"utterance u02 of .*feats.scp:3 has no transcript"):
        select_utterances(directory, encode)
    replace_line(directory / "utt2num_frames", 2, None)
    with pytest.raises(InputError, match="utterance u01 has no number of frames"):
        select_utterances(directory, encode)


def test_features_that_do_not_fit(directory, replace_line):
    selection = select_utterances(directory, encode)
    replace_line(directory / "utt2num_frames", 1, f"u00 {selection.entries[0].num_frames + 1}")
    with pytest.raises(InputError, match=r"utterance u00 has features \(\d+, 8\), expected"):
        FeatureDataset(select_utterances(directory, encode), cache=True)
