"""A second network: what it shares, what it learns, and what leaves it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from teaching import CODERT, TT, VOCABULARY, load, loss_of, make, write_experiment

from dualtk.distill.teacher import FrozenTeacher
from dualtk.errors import InputError
from dualtk.objective import Objective
from dualtk.train.optim import build_optimizer


def after_steps(objective: Objective, num_steps: int = 3) -> dict[str, torch.Tensor]:
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    for step in range(num_steps):
        optimizer.zero_grad()
        loss_of(objective.train(), step).total.backward()
        optimizer.step()
    return {name: value.clone() for name, value in objective.state_dict().items()}


def test_a_shared_decoder_is_one_decoder() -> None:
    objective = make(load("codert", *CODERT))
    assert objective.teacher is not None
    ours, theirs = objective.network, objective.teacher.network
    assert theirs.predictor is ours.predictor
    assert theirs.joiner.predictor is ours.joiner.predictor
    assert theirs.joiner.encoder.weight.shape == (VOCABULARY, 12)
    names = [name for name, _ in objective.named_parameters()]
    assert not any(name.startswith(("teacher.network.predictor", "teacher.network.joiner.predictor")) for name in names)
    assert any(name.startswith("teacher.network.encoder") for name in names)


def test_total_has_the_losses_of_both_and_the_distance() -> None:
    objective = make(load("codert", *CODERT, "terms.0.weight=0.25", "teacher.weight=2.0"))
    loss = loss_of(objective)
    parts = loss.parts
    expected = parts["streaming/rnnt"] + 2.0 * parts["teacher/rnnt"] + 0.25 * parts["streaming/encoder_logits"]
    torch.testing.assert_close(loss.total.detach(), expected)


def test_lambda_zero_is_co_learning_alone_bit_for_bit() -> None:
    colearned = after_steps(make(load("codert_colearned", *CODERT)))
    without = after_steps(make(load("codert_colearned", *CODERT, "terms=[]")))
    assert colearned.keys() == without.keys()
    assert all(torch.equal(colearned[name], without[name]) for name in colearned)
    distilled = after_steps(make(load("codert", *CODERT)))
    assert any(not torch.equal(distilled[name], without[name]) for name in distilled)


def test_lambda_zero_is_still_measured_in_validation() -> None:
    objective = make(load("codert_colearned", *CODERT))
    assert "streaming/encoder_logits" not in loss_of(objective).parts
    assert loss_of(objective.eval()).parts["streaming/encoder_logits"] > 0


@pytest.mark.parametrize("reaches", [False, True])
def test_a_switch_lets_the_distance_reach_the_teacher(reaches: bool) -> None:
    overrides = [*CODERT, "passes.0.weight=0.0", "teacher.weight=0.0", f"terms.0.reach_teacher={str(reaches).lower()}"]
    objective = make(load("codert", *overrides))
    loss_of(objective).total.backward()
    moved = {"network.encoder": 0.0, "teacher.network.encoder": 0.0}
    for name, parameter in objective.named_parameters():
        for part in moved:
            if name.startswith(part) and parameter.grad is not None:
                moved[part] += float(parameter.grad.abs().sum())
    assert moved["network.encoder"] > 0
    assert (moved["teacher.network.encoder"] > 0) == reaches


def test_a_separate_teacher_shares_nothing() -> None:
    lone = make(load("streaming_only", "loss={name: exact}"))
    both = make(load("no_weight_sharing", "loss={name: exact}"))
    count = sum(parameter.numel() for parameter in lone.network.parameters())
    assert both.teacher is not None
    assert sum(parameter.numel() for parameter in both.parameters()) == 2 * count
    assert not {id(p) for p in both.network.parameters()} & {id(p) for p in both.teacher.network.parameters()}


@pytest.mark.parametrize("name", ["tt_hidden", "tt_heads", "tt_kl"])
def test_a_frozen_teacher_stays_as_it_is(name: str, tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT, "model.encoder.dropout=0.5"))
    objective = make(load(name, *TT, f"teacher.exp={exp}"))
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    optimizer = build_optimizer(load(name).optimizer, objective.named_parameters())
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in objective.network.parameters()}
    assert loss_of(objective.train()).parts == loss_of(objective).parts, "its dropout draws nothing"
    after = after_steps(objective)
    for key, value in after.items():
        assert torch.equal(value, before[key]) == (key.startswith("teacher.") or "feature_" in key), key
    assert not any(key.startswith("teacher") for key in objective.network.state_dict())
    assert f"streaming/{name.removeprefix('tt_').replace('kl', 'full_kl')}" in loss_of(objective).parts


def test_a_student_that_is_its_teacher_is_at_no_distance(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_streaming", *TT))
    objective = make(load("tt_hidden", *TT, f"teacher.exp={exp}", "teacher.mode=streaming"))
    assert isinstance(objective.teacher, FrozenTeacher)
    assert loss_of(objective).parts["streaming/hidden"] > 0.1
    objective.network.load_state_dict(objective.teacher.network.state_dict())
    objective.teacher.scale.fill_(1.0)  # now that the student has the teacher's own statistics
    assert loss_of(objective).parts["streaming/hidden"] == 0.0


def test_a_frozen_teacher_reads_features_by_its_own_statistics(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT), mean=0.5)
    objective = make(load("tt_hidden", *TT, f"teacher.exp={exp}"))
    assert objective.teacher is not None
    heard: list[torch.Tensor] = []
    encoder = objective.teacher.network.encoder
    encoder.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))  # type: ignore[attr-defined]
    loss_of(objective)
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 48, 80, generator=generator)
    torch.testing.assert_close(heard[0][0], (feats[0] - 0.5) * 2.0)


def test_the_lattice_of_a_frozen_teacher_is_compared_where_asked(tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    three_way = "terms=[{name: three_way, student: streaming, teacher: teacher}]"
    for loss in ("{name: exact}", "{name: pruned, prune_range: 3}"):
        objective = make(load("tt_hidden", *TT, f"teacher.exp={exp}", three_way, f"loss={loss}"))
        assert loss_of(objective).parts["streaming/three_way"] > 0


def test_what_does_not_fit_is_refused_with_both_values(tmp_path: Path) -> None:
    def refusal(name: str, *overrides: str, vocab_size: int = VOCABULARY) -> str:
        with pytest.raises(InputError) as caught:
            make(load(name, *overrides), vocab_size)
        return str(caught.value)

    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    hidden = [*TT, f"teacher.exp={exp}"]
    assert "by 4, the student's by 5" in refusal("tt_hidden", *hidden, "model.encoder.subsampling_factor=5")
    assert "has 10 wordpieces, the student 12" in refusal("tt_hidden", *hidden, vocab_size=12)
    assert "takes 80 mels, the student 40" in refusal("tt_hidden", *hidden, "features.num_mels=40")
    assert "has no mode streaming; its modes are ['full']" in refusal("tt_hidden", *hidden, "teacher.mode=streaming")
    assert "config.yaml" in refusal("tt_hidden", *TT, f"teacher.exp={tmp_path / 'none'}")
    assert "by 5, the student's by 4" in refusal("codert", *CODERT, "teacher.encoder.stacking=5")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["teacher=null"], "terms.0.teacher: there is no section `teacher`"),
        (["terms.0.student=full"], "terms.0.student: no pass runs in mode full"),
        (["terms.0.teacher=full"], "terms.0.teacher: no pass runs in mode full"),
        (["model.joiner={name: tanh}"], "terms.0: encoder_logits needs the additive joiner, not tanh"),
        (["terms=[]", "sampling={streaming: 1.0}"], "teacher: with sampling one pass runs in a step"),
        (["terms.0.top_k=0"], "terms.0.top_k"),
        (["terms.0.reach_teacher=true", "teacher={name: frozen, exp: x, mode: streaming}"], "terms.0.reach_teacher"),
        (["teacher.encoder.dims=3"], "teacher.encoder.dims: unknown key"),
    ],
)
def test_configurations_that_make_no_sense(overrides: list[str], line: str) -> None:
    with pytest.raises(InputError) as caught:
        load("codert", *overrides)
    assert line in str(caught.value)
