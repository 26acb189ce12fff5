"""A step: two passes over one batch and the terms between them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualtk.objective import Objective
from dualtk.system import TransducerSystem, load
from dualtk.trainable import StepLoss

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    "model.encoder.dim=16",
    "model.encoder.num_layers=2",
    "model.encoder.feedforward_dim=24",
    "model.encoder.kernel=5",
    "model.encoder.dropout=0.0",
    "model.encoder.subsampling_channels=4",
    "model.predictor={name: stateless, dim: 16}",
    "model.joiner.joiner_dim=16",
    "loss={name: exact}",
    "augment=null",
]
THREE_WAY = "terms.three_way={student: streaming, teacher: full, weight: 0.5, start_step: 10, warmup_steps: 5}"
CTC = "terms.ctc_consistency={student: streaming, teacher: full, reduction: sum}"


def make(*overrides: str) -> Objective:
    torch.manual_seed(0)
    system = load(ROOT / "test/conf/dual_conformer.yaml", overrides=[*TINY, *overrides])
    assert isinstance(system, TransducerSystem)
    return system.build_objective(system.build_network(10, torch.zeros(80), torch.ones(80)))


def batch() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 48, 80, generator=generator)
    targets = torch.randint(1, 10, (3, 4), generator=generator)
    return feats, torch.tensor([48, 40, 30]), targets, torch.tensor([4, 3, 2])


def loss_of(objective: Objective, step: int = 0) -> StepLoss:
    result: StepLoss = objective(*batch(), step)
    return result


@pytest.mark.parametrize("loss", ["loss={name: exact}", "loss={name: pruned, prune_range: 3}"])
def test_total_is_the_weighted_sum_of_the_passes(loss: str) -> None:
    both = loss_of(make(loss, "passes={full: {weight: 0.25}, streaming: {weight: 2.0}}").eval())
    exact = "pruned" not in loss
    if exact:
        expected = 0.25 * both.parts["full/rnnt"] + 2.0 * both.parts["streaming/rnnt"]
        torch.testing.assert_close(both.total.detach(), expected)
    assert both.utterance_losses.shape == (3,)
    torch.testing.assert_close(both.utterance_losses.mean(), both.total.detach())


def test_a_term_waits_for_its_start_and_then_grows() -> None:
    objective = make(THREE_WAY)
    plain = make()
    before, without = loss_of(objective, 9), loss_of(plain, 9)
    torch.testing.assert_close(before.total, without.total)
    assert "streaming/three_way" not in before.parts
    late = loss_of(objective, 100)
    expected = loss_of(plain, 100).total + 0.5 * late.parts["streaming/three_way"]
    torch.testing.assert_close(late.total, expected)
    growing = [objective.terms[0].weight_at(step) for step in range(9, 17)]
    assert growing == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("term", [[THREE_WAY], ["ctc={}", CTC]])
def test_in_place_distillation_trains_the_student_norms_only(term: list[str]) -> None:
    """Norms are one set per mode, so the term's gradient must leave those of the teacher's mode at zero."""
    objective = make(*term, "passes={full: {weight: 0.0}, streaming: {weight: 0.0}}")
    loss_of(objective, 100).total.backward()
    moved = {
        mode: sum(
            float(parameter.grad.abs().sum())
            for name, parameter in objective.named_parameters()
            if f".norms.{mode}." in name and parameter.grad is not None
        )
        for mode in ("full", "streaming")
    }
    assert moved["full"] == 0.0
    assert moved["streaming"] > 0.0


@pytest.mark.slow
def test_sampling_draws_one_pass_by_its_probability() -> None:
    objective = make("sampled_steps=all", "passes.full.probability=0.8", "passes.streaming.probability=0.2")
    drawn = ["full/rnnt" in loss_of(objective, step).parts for step in range(40)]
    again = ["full/rnnt" in loss_of(objective, step).parts for step in range(40)]
    assert drawn == again
    assert 24 <= sum(drawn) <= 39
    assert set(loss_of(objective.eval()).parts) == {"full/rnnt", "streaming/rnnt"}


def test_one_mask_serves_both_passes() -> None:
    seen: list[torch.Tensor] = []

    def augment(feats: torch.Tensor, lengths: torch.Tensor, step: int) -> torch.Tensor:
        seen.append(feats * torch.rand(()))
        return seen[-1]

    objective = make()
    objective.augment = augment
    received: list[torch.Tensor] = []
    objective.network.encoder.register_forward_pre_hook(lambda _, arguments: received.append(arguments[0]))
    loss_of(objective)
    assert len(seen) == 1
    assert len(received) == 2
    assert all(torch.equal(feats, seen[0]) for feats in received)


def test_sampling_may_give_way_to_joint_training() -> None:
    objective = make("sampled_steps=20", THREE_WAY)
    drawn = [len(loss_of(objective, step).parts) for step in range(20)]
    assert set(drawn) == {1}
    assert set(loss_of(objective, 20).parts) == {"full/rnnt", "streaming/rnnt", "streaming/three_way"}
