"""The order of an epoch over shards, counted: every utterance once, each process at its own shards, none waits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualtk.data.sampler import BatchesOptions, BucketedBatches
from dualtk.data.windows import ShardList


def shard_list(of_utterance, weights=None, corpus=None) -> ShardList:
    count = int(np.max(of_utterance)) + 1
    return ShardList(
        np.asarray(of_utterance),
        np.zeros(count, np.int64) if corpus is None else np.asarray(corpus),
        np.ones(count) if weights is None else np.asarray(weights, np.float64),
    )


def corpus(num_shards: int, each: int, seed: int = 0) -> tuple[np.ndarray, ShardList]:
    random = np.random.default_rng(seed)
    return random.integers(200, 1600, num_shards * each), shard_list(np.repeat(np.arange(num_shards), each))


def sampler(lengths, shards, rank=0, world_size=1, window=2, max_frames=8000, shuffle=True) -> BucketedBatches:
    options = BatchesOptions(max_frames=max_frames, shard_window=window, num_buckets=5)
    return options.build(lengths, shuffle=shuffle, seed=3, rank=rank, world_size=world_size, shards=shards)


def taken(lengths, shards, world_size: int, epoch: int, batch: int = 0, processes: int = 0, most: int | None = None):
    """What processes take that share an epoch, those of a step together; and what each batch counts."""
    ranks = []
    for rank in range(world_size):
        one = sampler(lengths, shards, rank, world_size)
        one.start(epoch, batch, processes)
        ranks.append([(indices, one.share(step)) for step, indices in enumerate(one)])
    assert len({len(rank) for rank in ranks}) == 1
    return list(zip(*ranks))[:most]


def count(steps) -> Counter[int]:
    return Counter(index for step in steps for indices, share in step if share for index in indices)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=120),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 3),
    st.data(),
)
def test_every_utterance_once_whoever_goes_on(lengths, num_shards, before, after, epoch, data) -> None:
    """Any lengths and shards, an epoch begun by some processes and ended by others, at any step."""
    of_utterance = data.draw(st.lists(st.integers(0, num_shards - 1), min_size=len(lengths), max_size=len(lengths)))
    shards = ShardList(np.array(of_utterance), np.zeros(num_shards, np.int64), np.ones(num_shards))
    whole = taken(lengths, shards, before, epoch)
    assert count(whole) == Counter(range(len(lengths)))
    for step in whole:
        assert sum(share for _, share in step) == pytest.approx(before)
    stopped = data.draw(st.integers(0, len(whole)))
    rest = taken(lengths, shards, after, epoch, stopped * before, before)
    assert count(whole[:stopped]) + count(rest) == Counter(range(len(lengths)))
    if after == before:
        assert rest == whole[stopped:]


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_shard_is_read_by_one_process_within_one_round(processes: int) -> None:
    """In order: of 64 shards, each is asked for by one process alone, and not again after the round it is in."""
    lengths, shards = corpus(64, 60)
    for epoch in range(2):
        steps = taken(lengths, shards, processes, epoch)
        readers: dict[int, set[int]] = {}
        when: dict[int, list[int]] = {}
        for number, step in enumerate(steps):
            for rank, (indices, share) in enumerate(step):
                for index in indices if share else []:
                    shard = int(shards.of_utterance[index])
                    readers.setdefault(shard, set()).add(rank)
                    when.setdefault(shard, []).append(number)
        alone = sum(len(ranks) == 1 for ranks in readers.values())
        assert alone == 64, alone
        longest = max(max(steps) - min(steps) + 1 for steps in when.values())
        assert longest <= 1.1 * len(steps) * 2 * processes / 64 + 1


def test_steps_hold_batches_of_neighbouring_lengths() -> None:
    lengths, shards = corpus(64, 60)
    for plain in (None, shards):
        steps = taken(lengths, plain, 4, 1)
        longest = np.array([[max(lengths[index] for index in indices) for indices, _ in step] for step in steps])
        waste = 1 - longest.mean() / longest.max(1).mean()
        assert waste < 0.05, waste


def test_padding_is_about_that_of_the_whole_set() -> None:
    lengths, shards = corpus(64, 60)
    frames = {}
    for name, plain in (("whole", None), ("shards", shards)):
        steps = taken(lengths, plain, 2, 0)
        batches = [indices for step in steps for indices, share in step if share]
        padded = [len(indices) * max(lengths[index] for index in indices) for indices in batches]
        assert max(padded) <= 8000
        frames[name] = lengths.sum() / sum(padded)
    assert frames["shards"] > frames["whole"] - 0.12, frames


def test_epochs_differ_and_seeds_repeat_them() -> None:
    lengths, shards = corpus(16, 20)
    assert taken(lengths, shards, 2, 0) != taken(lengths, shards, 2, 1)
    assert taken(lengths, shards, 2, 1) == taken(lengths, shards, 2, 1)


def test_a_wider_window_shuffles_more_shards_together() -> None:
    lengths, shards = corpus(16, 20)
    spread = []
    for window in (1, 2, 16):
        one = sampler(lengths, shards, window=window)
        spread.append(np.mean([len(set(shards.of_utterance[batch].tolist())) for batch in one]))
    assert spread[0] == 1.0 < spread[1] <= 2.0 < spread[2]


def test_the_first_epochs_go_up_in_length_within_a_round() -> None:
    lengths, shards = corpus(4, 50)
    options = BatchesOptions(max_frames=8000, shortest_epochs=1, shard_window=4)
    one = options.build(lengths, shuffle=True, seed=1, shards=shards)
    longest = [max(lengths[index] for index in batch) for batch in one]
    assert longest == sorted(longest)


@pytest.mark.parametrize(("weight", "epochs"), [(2.0, 1), (0.5, 4), (2.25, 8), (1 / 3, 6)])
def test_a_corpus_is_read_as_often_as_its_weight_says(weight: float, epochs: int) -> None:
    """One of weight 1 once in each epoch; the other so often in the mean over some epochs, each shard as often."""
    lengths, _ = corpus(24, 10)
    shards = shard_list(np.repeat(np.arange(24), 10), [1.0] * 12 + [weight] * 12, [0] * 12 + [1] * 12)
    total: Counter[int] = Counter()
    for epoch in range(epochs):
        one = count(taken(lengths, shards, 2, epoch))
        assert {one[index] for index in range(120)} == {1}
        assert {one[index] for index in range(120, 240)} <= {int(weight), int(weight) + 1}
        assert sum(one[index] for index in range(120, 240)) == pytest.approx(120 * weight, abs=10)
        total += one
    assert {total[index] for index in range(120, 240)} == {round(weight * epochs)}
