"""Batches: who is in them, in what order, on which rank."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest

from dualtk.data.sampler import BatchesOptions, BucketedBatches


def buckets(lengths, max_frames, shortest_epochs=0, shuffle=True, **place) -> BucketedBatches:
    options = BatchesOptions(max_frames=max_frames, shortest_epochs=shortest_epochs)
    return options.build(lengths, shuffle=shuffle, **place)


@pytest.fixture(scope="module")
def lengths():
    return np.random.default_rng(0).integers(30, 1700, 2000).tolist()


@pytest.mark.parametrize("size", [1, 2, 17, 2000])
@pytest.mark.parametrize("max_frames", [500, 10000, 100000])
def test_each_utterance_once_within_the_limit(lengths, size, max_frames):
    sampler = buckets(lengths[:size], max_frames, seed=3)
    for epoch in range(3):
        batches = sampler.batches(epoch)
        assert len(batches) == len(sampler)
        assert sorted(functools.reduce(operator.iadd, batches, [])) == list(range(size))
        for batch in batches:
            assert len(batch) == 1 or max(lengths[index] for index in batch) * len(batch) <= max_frames


def test_little_padding(lengths):
    sampler = buckets(lengths, 20000)
    padded = sum(max(lengths[index] for index in batch) * len(batch) for batch in sampler.batches(0))
    assert sum(lengths) / padded > 0.9
    assert len(sampler) < 1.15 * sum(lengths) / 20000 / 0.9


def test_order_is_of_seed_and_epoch_alone(lengths):
    one, other = buckets(lengths, 10000, seed=1), buckets(lengths, 10000, seed=1)
    other.batches(7)
    assert one.batches(3) == other.batches(3)
    assert one.batches(3) != one.batches(4)
    assert one.batches(3) != buckets(lengths, 10000, seed=2).batches(3)
    assert {frozenset(batch) for batch in one.batches(3)} != {frozenset(batch) for batch in one.batches(4)}


def test_resume(lengths):
    sampler = buckets(lengths, 10000, seed=1)
    sampler.start(2)
    whole = list(sampler)
    for first in (0, 1, len(whole) - 1, len(whole)):
        fresh = buckets(lengths, 10000, seed=1)
        fresh.start(2, first)
        assert list(fresh) == whole[first:]


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_an_epoch(lengths, world_size):
    ranks = [buckets(lengths, 10000, rank=rank, world_size=world_size) for rank in range(world_size)]
    per_rank = [sampler.batches(1) for sampler in ranks]
    assert {len(batches) for batches in per_rank} == {len(ranks[0])}
    counts = np.bincount(
        [index for batches in per_rank for batch in batches for index in batch], minlength=len(lengths)
    )
    assert counts.min() == 1
    seen_twice = np.flatnonzero(counts > 1)
    assert counts.max() <= 2
    assert all(lengths[index] < np.median(lengths) for index in seen_twice)
    longest = np.array([[max(lengths[index] for index in batch) for batch in batches] for batches in per_rank])
    assert (longest.max(0) / longest.min(0) < 1.5).mean() > 0.9  # no rank waits for another


def test_more_ranks_than_batches():
    ranks = [buckets([50, 60], 1000, rank=rank, world_size=4) for rank in range(4)]
    assert [len(sampler.batches(0)) for sampler in ranks] == [1, 1, 1, 1]


def test_curriculum_and_fixed_order(lengths):
    def longest(batches):
        return [max(lengths[index] for index in batch) for batch in batches]

    sampler = buckets(lengths, 10000, shortest_epochs=2)
    assert longest(sampler.batches(1)) == sorted(longest(sampler.batches(1)))
    assert longest(sampler.batches(2)) != sorted(longest(sampler.batches(2)))
    assert sampler.batches(0) != sampler.batches(1)
    fixed = buckets(lengths, 10000, shuffle=False)
    assert fixed.batches(0) == fixed.batches(5)


@pytest.mark.parametrize("key", ["max_frames", "max_utterance_frames", "num_buckets"])
def test_refused(key):
    with pytest.raises(ValueError, match=rf"{key}\n"):
        BatchesOptions(**{key: 0})


def test_number_of_buckets(lengths):
    """With one bucket any utterance may meet any other; with thirty only those of its own length."""
    ratios = []
    for number in (1, 30):
        batches = BatchesOptions(max_frames=10000, num_buckets=number).build(lengths, shuffle=True).batches(0)
        ratios.append(
            np.mean([min(map(lengths.__getitem__, one)) / max(map(lengths.__getitem__, one)) for one in batches])
        )
    assert ratios[0] < 0.5 < 0.8 < ratios[1]
