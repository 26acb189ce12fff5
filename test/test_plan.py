"""Which passes a step runs."""

from __future__ import annotations

from collections import Counter

import pytest
from shipped import load_shipped

from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, ModeOptions, seen_otherwise, streaming
from dualtk.plan import PassPlan, PlannedPass

FULL, STREAMING = PlannedPass(FULL_CONTEXT, 0.5), PlannedPass(streaming(), 0.5)


def test_all_passes_run_where_nothing_is_drawn() -> None:
    plan = PassPlan([FULL, STREAMING])
    assert plan.at(0) == plan.at(7) == [FULL, STREAMING]
    assert not plan.draws(0)


def test_sampling_draws_one_pass_by_its_probability_and_then_ends() -> None:
    # Only the proportion of the probabilities counts.
    rare, often = PlannedPass(FULL_CONTEXT, 0.5, probability=0.6), PlannedPass(streaming(), 0.5, probability=1.4)
    plan = PassPlan([rare, often], sampled_steps=2000, seed=3)
    drawn = [plan.at(step) for step in range(2000)]
    assert all(len(passes) == 1 for passes in drawn)
    share = Counter(passes[0].mode.name for passes in drawn)["full"] / 2000
    assert abs(share - 0.3) < 0.05  # five standard deviations
    assert plan.draws(1999)
    assert not plan.draws(2000)
    assert plan.at(2000) == [rare, often]


def test_a_draw_follows_from_seed_and_step() -> None:
    first, other = (PassPlan([FULL, STREAMING], sampled_steps="all", seed=seed) for seed in (1, 2))
    assert [first.at(step) for step in range(50)] == [first.at(step) for step in range(50)]
    assert [first.at(step) for step in range(50)] != [other.at(step) for step in range(50)]
    assert first.draws(10**9)


def test_the_sandwich_keeps_the_outer_sizes() -> None:
    sizes = [PlannedPass(streaming(sparsity=value, name=f"at_{value}")) for value in (0.0, 0.3, 0.5, 0.7, 0.9)]
    plan = PassPlan([FULL, *sizes], sandwich=True)
    drawn = [plan.at(step) for step in range(40)]
    assert all(
        len(passes) == 4 and {FULL.mode, sizes[0].mode, sizes[4].mode} < {one.mode for one in passes}
        for passes in drawn
    )
    assert {one.mode.name for passes in drawn for one in passes} == {"full", *(one.mode.name for one in sizes)}
    assert plan.draws(0)


def test_what_a_mode_sees_is_drawn_for_each_step_by_its_probability() -> None:
    options = ModeOptions.model_validate(
        {"chunk": 2, "sparsity": 0.3, "drawn": [{"chunk": 4, "probability": 3}, {"chunk": 8, "left_context": 5}]}
    )
    drawing = PlannedPass(options.mode("streaming"), 0.5, drawn=options.drawn_modes("streaming"))
    plan = PassPlan([FULL, drawing], seed=3)
    steps = [plan.at(step) for step in range(2000)]
    assert all(passes[0] == FULL and passes[1].weight == 0.5 for passes in steps)
    seen = Counter(passes[1].mode for passes in steps)
    few = streaming(5, 8, sparsity=0.3)
    assert seen.keys() == {streaming(None, 4, sparsity=0.3), few}
    assert abs(seen[few] / 2000 - 0.25) < 0.05  # five standard deviations
    assert steps == [plan.at(step) for step in range(2000)]
    assert steps != [PassPlan([FULL, drawing], seed=4).at(step) for step in range(2000)]
    assert plan.passes[1].mode == streaming(None, 2, sparsity=0.3), "validation sees what the mode says"
    assert not plan.draws(0), "every parameter has a gradient"


def test_a_mode_is_decoded_with_another_chunk_or_left_context() -> None:
    own = streaming(16, 2, 60)
    assert seen_otherwise(own, "8") == streaming(16, 8, 60)
    assert seen_otherwise(own, "1-4") == streaming(4, 1, 60)
    assert seen_otherwise(own, "8-all") == streaming(None, 8, 60)
    for text in ("", "0", "8-", "x", "-1", "8--1", "8-none", "1.5", "8/3"):
        with pytest.raises(InputError, match=f"^mode streaming@{text}: behind @ stands CHUNK or CHUNK-LEFT"):
            seen_otherwise(own, text)
    with pytest.raises(InputError, match="mode full: a full-context mode has no left_context, chunk"):
        seen_otherwise(FULL_CONTEXT, "2")


def test_full_context_and_teachers_draw_nothing() -> None:
    with pytest.raises(ValueError, match="drawn: a full-context mode has none"):
        ModeOptions.model_validate({"full_context": True, "drawn": [{"chunk": 2}]})
    with pytest.raises(InputError, match=r"teacher\.mode\.drawn: a teacher sees the same in every step"):
        load_shipped("codert", "cpu-synthetic", "teacher.mode.drawn=[{chunk: 2}]")
