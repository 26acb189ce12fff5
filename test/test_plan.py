"""Which passes a step runs."""

from __future__ import annotations

from collections import Counter

from dualtk.modes import FULL_CONTEXT, streaming
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
