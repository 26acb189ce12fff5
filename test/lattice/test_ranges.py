"""The ranges keep a path, whatever the occupation says; equality to k2 is tested in test/k2."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualtk.lattice import Lattice, Occupation, logits_lattice, prune_ranges, prune_ranges_shared


@settings(deadline=None, max_examples=40)
@given(frames=st.integers(1, 12), labels=st.integers(0, 9), seed=st.integers(0, 1000), s_range=st.integers(2, 6))
def test_ranges_hold_a_path_of_every_utterance(make_batch, frames, labels, seed, s_range):
    batch, other = (make_batch(3, frames, labels, seed=seed + k) for k in (0, 1))
    lattice, second = (logits_lattice(x.logits, *batch.args) for x in (batch, other))
    ranges = prune_ranges_shared(lattice.occupation(), second.occupation(), *batch.args[1:], s_range)
    starts, width = ranges[:, :, 0], ranges.shape[2]
    assert width <= labels + 1
    assert torch.equal(ranges, starts.unsqueeze(2) + torch.arange(width))
    assert not starts[:, 0].any()
    steps = starts.diff(dim=1)
    assert ((steps >= 0) & (steps < max(width, 2))).all()
    for scores in (lattice, second):
        pruned = Lattice(scores.blank.gather(2, ranges), scores.label.gather(2, ranges), *batch.args[1:], ranges)
        assert pruned.loss("none").isfinite().all()
        assert (pruned.loss("none") >= scores.loss("none") - 1e-4).all()


def test_shared_ranges_lie_where_both_passes_are():
    """Two certain passes two labels apart: ranges of three positions can hold both."""
    occupations = []
    for lag in (0, 2):
        blank = torch.zeros(1, 8, 7)
        position = (torch.arange(8) - lag).clamp(0, 5)
        blank[0, torch.arange(8), position] = 1.0
        occupations.append(Occupation(blank, torch.zeros_like(blank)))
    lengths, targets = torch.tensor([8]), torch.tensor([6])
    ranges = prune_ranges_shared(*occupations, lengths, targets, 3)
    for t in range(3, 6):
        assert {t, t - 2} <= set(ranges[0, t].tolist())


def test_too_narrow_ranges_are_widened_for_an_utterance_with_more_labels_than_frames(make_batch):
    batch = make_batch(2, 2, 6)
    batch.logit_lengths[:], batch.target_lengths[:] = 2, 6
    lattice = logits_lattice(batch.logits, *batch.args)
    assert prune_ranges(lattice.occupation(), *batch.args[1:], 2).shape[2] == 4


def test_a_range_of_one_is_refused(make_batch):
    batch = make_batch()
    with pytest.raises(ValueError, match="at least 2"):
        prune_ranges(logits_lattice(batch.logits, *batch.args).occupation(), *batch.args[1:], 1)
