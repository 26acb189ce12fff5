"""A training set that is another in every epoch: what is in it, within which bounds, and what decides it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from dualtk.data.batches import Batch
from dualtk.data.dataset import FeatureDataset
from dualtk.data.drawn import DrawnUtterances, SpokenUtterances, Variation
from dualtk.data.fbank import FbankOptions
from dualtk.data.joining import JoiningOptions, join_features
from dualtk.data.loader import batch_loader
from dualtk.data.noise import NoiseOptions
from dualtk.data.rooms import RoomOptions
from dualtk.data.sampler import BatchesOptions
from dualtk.data.samples import SampleOptions
from dualtk.data.selection import select_utterances
from dualtk.data.telephone import TelephoneOptions
from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer
from dualtk.data.waveform import WaveformOptions
from dualtk.errors import InputError

MELS = FbankOptions(num_mels=16)
BATCHES = BatchesOptions(max_frames=300, max_utterance_frames=300)
ALL = WaveformOptions(
    speeds=(0.9, 1.0, 1.1),
    room=RoomOptions(probability=0.5),
    noise=NoiseOptions(),
    telephone=TelephoneOptions(probability=0.5),
    volume=6.0,
)


@dataclass(frozen=True)
class Options:
    """The sections of a configuration that are read here."""

    features: FbankOptions
    batches: BatchesOptions
    waveform: WaveformOptions | None
    joining: JoiningOptions | None


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def stored(make_directory, extract_features, tmp_path_factory: pytest.TempPathFactory) -> FeatureDataset:
    directory = make_directory(tmp_path_factory.mktemp("drawn") / "train", 20)
    return FeatureDataset(select_utterances(extract_features(directory, MELS), encode))


def encode(text: str) -> list[int]:
    return [1 + ord(letter) % 20 for letter in text]


def drawn(
    stored: FeatureDataset,
    waveform: WaveformOptions | None = None,
    joining: JoiningOptions | None = None,
    cache: bool = False,
) -> DrawnUtterances:
    batches = BATCHES.model_copy(update={"cache": cache})
    return DrawnUtterances(stored, Options(MELS, batches, waveform, joining), 4)


def read(dataset: DrawnUtterances, epoch: int, first: int = 0, num_workers: int = 0, **place: int) -> list[Batch]:
    batches = dataset.batches(BATCHES, **{"seed": 1, "rank": 0, "world_size": 1, **place})
    batches.start(epoch, first)
    return list(batch_loader(dataset, batches, num_workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        left.utterances == right.utterances
        and torch.equal(left.feats, right.feats)
        and torch.equal(left.targets, right.targets)
        and torch.equal(left.feat_lengths, right.feat_lengths)
        for left, right in zip(one, other)
    )


def test_without_changes_audio_gives_what_is_stored(stored: FeatureDataset) -> None:
    plain = stored.batches(BATCHES, seed=1, rank=0, world_size=1)
    plain.start(3)
    expected = list(batch_loader(stored, plain))
    for cache in (False, True):
        assert same(read(drawn(stored, WaveformOptions(), cache=cache), 3), expected)
    assert same(read(drawn(stored, ALL.model_copy(update={"start_epoch": 4})), 3), expected)
    assert not same(read(drawn(stored, ALL.model_copy(update={"start_epoch": 3})), 3), expected)


@pytest.mark.slow
@pytest.mark.parametrize("joining", [None, JoiningOptions(probability=0.7)])
def test_seed_and_epoch_decide_and_nothing_else(stored: FeatureDataset, joining: JoiningOptions | None) -> None:
    """Workers, the cache, and where a run was stopped change no bit."""
    whole = read(drawn(stored, ALL, joining), 2)
    for workers, cache in ((1, False), (3, False), (0, True)):
        assert same(read(drawn(stored, ALL, joining, cache), 2, num_workers=workers), whole)
    for first in (1, len(whole) - 1, len(whole)):
        assert same(read(drawn(stored, ALL, joining), 2, first, num_workers=2), whole[first:])
    assert not same(read(drawn(stored, ALL, joining), 3), whole)
    assert not same(read(drawn(stored, ALL, joining), 2, seed=2), whole)


def test_ranks_share_an_epoch(stored: FeatureDataset) -> None:
    joining = JoiningOptions(probability=0.5)
    ranks = [read(drawn(stored, ALL, joining), 1, rank=rank, world_size=2) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    read_names = [name for rank in ranks for batch in rank for one in batch.utterances for name in one.split("+")]
    assert set(read_names) == {entry.name for entry in stored.entries}


def test_joined_utterances_are_their_parts_with_pauses_between(stored: FeatureDataset) -> None:
    joining = JoiningOptions(probability=0.8, most=3, pause=(0.1, 0.3))
    index = {entry.name: number for number, entry in enumerate(stored.entries)}
    counts = []
    for epoch in range(5):
        seen = []
        for batch in read(drawn(stored, None, joining), epoch):
            assert len(batch.utterances) == 1 or batch.feats.shape[0] * batch.feats.shape[1] <= BATCHES.max_frames
            for row, name in enumerate(batch.utterances):
                parts = [stored[index[one]] for one in name.split("+")]
                feats, tokens = batch.feats[row, : batch.feat_lengths[row]], batch.targets[row]
                assert torch.equal(tokens[: batch.target_lengths[row]], torch.cat([part.targets for part in parts]))
                assert len(feats) <= 300
                _check_parts(feats, [part.feats for part in parts])
                counts.append(len(parts))
                seen += name.split("+")
        assert sorted(seen) == sorted(index), "every utterance once in an epoch"
    assert set(counts) == {1, 2, 3}


def test_it_is_told_how_much_is_joined(stored: FeatureDataset) -> None:
    (line,) = drawn(stored, None, JoiningOptions(probability=1.0, most=2, pause=(0.1, 0.2), start_epoch=2)).describe(1)
    draws, sizes = drawn(stored, None, JoiningOptions(probability=1.0, most=2, pause=(0.1, 0.2))).variation.draws(
        np.asarray(stored.lengths), 1, 2
    )
    assert line.startswith(f"joining: epoch 2 reads 20 utterances as {len(draws)}, ")
    assert line.endswith(f"the longest lasts {max(sizes) / 100:.1f} s")
    (line,) = drawn(stored, None, JoiningOptions(pause=(3.0, 4.0))).describe(1)
    assert line == "joining: no two utterances fit into batches.max_utterance_frames and batches.max_frames"
    assert drawn(stored, WaveformOptions()).describe(1) == []


def _check_parts(feats: torch.Tensor, parts: list[torch.Tensor]) -> None:
    """Each part whole and in order; pauses of frames of their neighbours, from 0.1 to 0.3 s."""
    assert torch.equal(feats[: len(parts[0])], parts[0])
    place = len(parts[0])
    for before, after in pairwise(parts):
        starts = [
            start for start in range(place + 10, place + 31) if torch.equal(feats[start : start + len(after)], after)
        ]
        assert len(starts) == 1
        pause = feats[place : starts[0]]
        neighbours = torch.cat([before, after])
        sources = (pause.unsqueeze(1) == neighbours).all(2)
        assert bool(sources.any(1).all())
        assert float(pause.mean(1).max()) <= float(neighbours.mean(1).quantile(0.15))
        place = starts[0] + len(after)
    assert place == len(feats)


def test_tokens_of_joined_texts_are_those_of_the_whole_text(tmp_path: Path) -> None:
    texts = ["THE CAT SAT", "ON A MAT", "AND THE DOG RAN", "A"]
    write_tokenizer(tmp_path / "lang", texts * 3, TokenOptions(size=24))
    tokenizer = Tokenizer(tmp_path / "lang")
    for one in texts:
        for other in texts:
            assert tokenizer.encode(one) + tokenizer.encode(other) == tokenizer.encode(f"{one} {other}")


def test_pauses_of_samples_are_their_quietest_pieces() -> None:
    loud, quiet = torch.full((20, 160), -0.9), torch.full((5, 160), 0.01)
    joined = join_features([torch.cat([loud, quiet]), loud], [0, 7], "samples", np.random.default_rng(0))
    assert torch.equal(joined[25:32], quiet[:1].expand(7, 160))
    mels = join_features([torch.cat([loud, quiet]), loud], [0, 7], "fbank", np.random.default_rng(0))
    assert torch.equal(mels[25:32], loud[:1].expand(7, 160))


def test_lengths_after_a_change_of_speed_are_known_before(stored: FeatureDataset) -> None:
    """The planned frames are never fewer than those that there are, and speeds keep the bounds."""
    lengths = np.asarray(stored.lengths)
    options = WaveformOptions(speeds=(0.7, 1.0, 1.6))
    spoken = SpokenUtterances(stored, options, MELS, cache=True)
    shortest, longest = 30, 100
    variation = Variation(shortest, longest, options.speeds)
    drawn_speeds = set()
    for epoch in range(6):
        for draw, size in zip(*variation.draws(lengths, 1, epoch)):
            (part,) = draw.parts
            frames = len(spoken(part.index, part.speed, 1, epoch))
            assert size - 2 <= frames <= size
            assert part.speed == 1.0 or shortest <= frames <= longest
            drawn_speeds.add(part.speed)
    assert drawn_speeds == {0.7, 1.0, 1.6}


def test_raw_samples_are_varied_too(make_directory, extract_features, tmp_path: Path) -> None:
    options = SampleOptions()
    stored = FeatureDataset(select_utterances(extract_features(make_directory(tmp_path / "train", 4), options)))
    for waveform, equal in ((WaveformOptions(), True), (WaveformOptions(volume=6.0), False)):
        spoken = SpokenUtterances(stored, waveform, options, cache=False)
        assert torch.equal(spoken(2, 1.0, 1, 0), stored[2].feats) is equal


def test_what_has_no_audio_is_refused(make_directory, extract_features, tmp_path: Path) -> None:
    folder = extract_features(make_directory(tmp_path / "train", 4), MELS)
    stored = FeatureDataset(select_utterances(folder))
    with pytest.raises(InputError, match=r"num_mels of the features is 16, .* features\.num_mels 80"):
        SpokenUtterances(stored, WaveformOptions(), FbankOptions(), cache=False)
    lines = (folder / "wav.scp").read_text().splitlines(keepends=True)
    (folder / "wav.scp").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"wav\.scp: has no audio of utterance s0-000"):
        SpokenUtterances(stored, WaveformOptions(), MELS, cache=False)
    (folder / "wav.scp").unlink()
    with pytest.raises(InputError, match="`waveform` makes features of audio, and this directory is not one"):
        SpokenUtterances(stored, WaveformOptions(), MELS, cache=False)
