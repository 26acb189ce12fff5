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


def taken(lengths, max_frames, epoch, batch, processes, world_size, steps=None):
    """What so many steps take of an epoch: a list of (utterances, share) for each step, one for each rank."""
    ranks = [buckets(lengths, max_frames, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    for sampler in ranks:
        sampler.start(epoch, batch, processes)
    found = [[(one, sampler.share(index)) for index, one in enumerate(sampler)] for sampler in ranks]
    assert {len(each) for each in found} == {len(found[0])}
    return list(zip(*found))[:steps]


def counts(steps, size):
    """How often each utterance counts."""
    return np.bincount([index for step in steps for one, share in step if share for index in one], minlength=size)


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_an_epoch(lengths, world_size):
    steps = taken(lengths, 10000, 1, 0, 0, world_size)
    assert len(steps) == len(buckets(lengths, 10000, world_size=world_size))
    assert set(counts(steps, len(lengths))) == {1}
    assert all(sum(share for _, share in step) == pytest.approx(world_size) for step in steps)
    longest = np.array([[max(lengths[index] for index in one) for one, _ in step] for step in steps])
    assert (longest.max(1) / longest.min(1) < 1.5).mean() > 0.9  # no rank waits for another


def test_more_ranks_than_batches():
    assert taken([50, 60], 1000, 0, 0, 0, 4) == [(([0, 1], 4.0), ([0, 1], 0.0), ([0, 1], 0.0), ([0, 1], 0.0))]


@pytest.mark.parametrize("sizes", [(4, 2, 1), (1, 3), (2, 8, 3, 2), (3, 3)])
@pytest.mark.parametrize("size", [40, 2000])
def test_other_numbers_of_processes_go_on_where_an_epoch_stands(lengths, sizes, size):
    batch, steps = 0, []
    for turn, world_size in enumerate(sizes):
        last = turn == len(sizes) - 1
        some = taken(lengths[:size], 3000, 2, batch, sizes[0], world_size, None if last else 2)
        batch += len(some) * world_size
        steps += some
    assert set(counts(steps, size)) == {1}
    if len(set(sizes)) == 1:
        assert steps == taken(lengths[:size], 3000, 2, 0, 0, sizes[0])


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
