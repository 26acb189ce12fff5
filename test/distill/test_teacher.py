"""A second network: what it shares, what it learns, and what leaves it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_experiment
import torch
from teaching import CODERT, TT, VOCABULARY, load, loss_of, make, make_tokenizer, write_experiment

from dualtk import trained
from dualtk.bin import extract
from dualtk.distill.teacher import CoLearnedTeacher, FrozenTeacher
from dualtk.distill.terms import Outcome, WeightedTerm
from dualtk.errors import InputError
from dualtk.lattice import Lattice, prune_ranges_shared, three_way
from dualtk.objective import Objective
from dualtk.transducer.criterion import PrunedLoss
from dualtk.transducer.joiner import AdditiveJoiner


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


def test_a_learnt_scale_of_tanh_is_one_for_student_and_teacher() -> None:
    """It starts where the YAML says, lets logits leave (-1, 1), and the losses of both move it."""
    objective = make(load("codert", *CODERT, "model.joiner={name: additive, activation: tanh, scale: 4.0}"))
    joiner = objective.network.joiner
    assert isinstance(joiner, AdditiveJoiner)
    assert joiner.scale is not None
    assert joiner.scale.tolist() == [4.0]
    assert objective.teacher is not None
    assert objective.teacher.network.joiner.layer[0] is joiner.scale
    assert 1 < joiner(torch.full((10,), 9.0), torch.zeros(10)).max() < 4.0001
    found = []
    for passes in ("passes.streaming.weight=0.0", "teacher.weight=0.0"):
        one = make(
            load("codert_colearned", *CODERT, "model.joiner={name: additive, activation: tanh, scale: 4.0}", passes)
        )
        loss_of(one).total.backward()
        assert isinstance(one.network.joiner, AdditiveJoiner)
        assert one.network.joiner.scale is not None
        found.append(one.network.joiner.scale.grad)
    assert all(grad is not None and grad.abs() > 1e-4 for grad in found)
    with pytest.raises(InputError, match=r"model\.joiner\.scale|scale: a factor of tanh"):
        load("codert", "model.joiner={name: additive, activation: identity, scale: 4.0}")


def test_total_has_the_losses_of_both_and_the_distance() -> None:
    objective = make(load("codert", *CODERT, "terms.encoder_logits.weight=0.25", "teacher.weight=2.0"))
    loss = loss_of(objective)
    parts = loss.parts
    expected = parts["streaming/rnnt"] + 2.0 * parts["teacher/rnnt"] + 0.25 * parts["streaming/encoder_logits"]
    torch.testing.assert_close(loss.total.detach(), expected)


@pytest.mark.slow
def test_lambda_zero_is_co_learning_alone_bit_for_bit() -> None:
    colearned = after_steps(make(load("codert_colearned", *CODERT)))
    without = after_steps(make(load("codert_colearned", *CODERT, "terms={}")))
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
    overrides = [
        *CODERT,
        "passes.streaming.weight=0.0",
        "teacher.weight=0.0",
        f"terms.encoder_logits.reach_teacher={str(reaches).lower()}",
    ]
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tt_hidden", "tt_heads", "tt_kl"])
def test_a_frozen_teacher_stays_as_it_is(name: str, tmp_path: Path) -> None:
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT, "model.encoder.dropout=0.5"))
    objective = make(load(name, *TT, f"teacher.exp={exp}"))
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    optimizer = load(name).optimizer.build(objective.named_parameters())
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
    three_way = "terms={three_way: {student: streaming, teacher: teacher}}"
    for loss in ("{name: exact}", "{name: pruned, prune_range: 3}"):
        objective = make(load("tt_hidden", *TT, f"teacher.exp={exp}", three_way, f"loss={loss}"))
        assert loss_of(objective).parts["streaming/three_way"] > 0


class Watched:
    """A term that keeps what it is given."""

    name = "watched"

    def __init__(self, compares_lattices: bool) -> None:
        self.compares_lattices = compares_lattices
        self.lattices: list[Lattice] = []

    def __call__(self, student: Outcome, teacher: Outcome) -> torch.Tensor:
        self.lattices = [student.lattice(), teacher.lattice()]
        return student.lattice().blank.new_zeros(())

    def share(self) -> float:
        """Of the student's cells, how many are compared by a term without a shift."""
        student, teacher = self.lattices
        return float(three_way(student, teacher).mask.sum() / student.mask().sum())


def watch(objective: Objective, *, compares_lattices: bool) -> Watched:
    term = Watched(compares_lattices)
    objective.terms = [WeightedTerm(term, "streaming", "teacher", 1.0, 0, 0, "terms.watched")]
    loss_of(objective)
    return term


PRUNED = "loss={name: pruned, prune_range: 2, warmup_steps: 0}"


@pytest.mark.parametrize("teacher", ["shared decoder", "separate", "frozen"])
def test_every_pruned_cell_of_the_student_is_compared(teacher: str, tmp_path: Path) -> None:
    """Ranges that each side chooses for itself leave some of them without a partner."""
    if teacher == "frozen":
        exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
        objective = make(load("tt_hidden", *TT, f"teacher.exp={exp}", PRUNED))
    else:
        separate = ["teacher={name: separate, mode: {}, model: null}"] if teacher == "separate" else []
        objective = make(load("codert_three_way", *CODERT, *separate, PRUNED))
        assert [weighted.term.compares_lattices for weighted in objective.terms] == [False, True]
        assert watch(objective, compares_lattices=False).share() < 0.9
    assert watch(objective, compares_lattices=True).share() == 1.0


def test_ranges_are_those_of_each_where_no_lattices_are_compared() -> None:
    """The student's loss is then that of a student alone."""
    both = loss_of(make(load("codert", *CODERT, PRUNED)))
    alone = loss_of(make(load("codert", *CODERT, PRUNED, "terms={}", "teacher=null")))
    for key in ("streaming/rnnt", "streaming/simple"):
        assert both.parts[key] == alone.parts[key]


def test_common_ranges_change_which_cells_are_kept_and_nothing_else() -> None:
    """Losses and gradients are those of both criteria on ranges that keep the most of both."""
    objective = make(load("codert", *CODERT, PRUNED, "teacher.weight=2.0")).double()
    teacher, seen = objective.teacher, watch(objective, compares_lattices=True)
    assert isinstance(teacher, CoLearnedTeacher)
    feats, lengths = torch.randn(2, 40, 80, dtype=torch.float64), torch.tensor([40, 33])
    targets, target_lengths = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])
    total = objective(feats, lengths, targets, target_lengths, 5000).total

    predicted = objective.network.predict(targets)
    with objective.network.mode(objective.plan.passes[0].mode):
        student_run = objective.network(feats, lengths, predicted)
    with teacher.network.mode(teacher.mode):
        runs = [student_run, teacher.network(feats, lengths, predicted)]
    criteria = [one for one in (objective.criterion, teacher.criterion) if isinstance(one, PrunedLoss)]
    found = [criterion.simple(run, targets, target_lengths) for criterion, run in zip(criteria, runs, strict=True)]
    out = student_run.encoded.lengths
    ranges = prune_ranges_shared(found[0].occupation, found[1].occupation, out, target_lengths, 2)
    assert all(torch.equal(lattice.positions(), ranges) for lattice in seen.lattices)
    losses = [
        0.5 * one.loss + run.lattice(targets, target_lengths, ranges).loss("none")
        for one, run in zip(found, runs, strict=True)
    ]
    expected = (losses[0] + 2.0 * losses[1]).mean()
    torch.testing.assert_close(total, expected)
    parameters = list(objective.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(total, parameters, allow_unused=True),
        torch.autograd.grad(expected, parameters, allow_unused=True),
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--sparsity", "0.7"], ["--sparsity", "0.5", "--pattern", "2:4"], ["--int8"]])
def test_a_mode_that_was_taken_out_teaches(options: list[str], tmp_path: Path) -> None:
    """Its compact file is made dense, as decoding does it."""
    whole, alone = small_experiment.write_experiment(tmp_path / "exp"), tmp_path / "alone"
    assert extract.main(["--exp", str(whole), str(alone), *options]) == 0
    student = [*TT, "model.encoder.dim=16", "features.num_mels=16", f"teacher.exp={alone}", "teacher.mode=streaming"]
    teacher = make(load("tt_hidden", *student), trained.load(alone).tokenizer).teacher
    assert teacher is not None
    own = teacher.network.state_dict()
    for key, value in trained.load(alone).network.state_dict().items():
        assert torch.equal(own[key], value), key


def test_what_does_not_fit_is_refused_with_both_values(tmp_path: Path) -> None:
    def refusal(name: str, *overrides: str, vocab_size: int = VOCABULARY) -> str:
        with pytest.raises(InputError) as caught:
            make(load(name, *overrides), make_tokenizer(vocab_size))
        return str(caught.value)

    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))
    hidden = [*TT, f"teacher.exp={exp}"]
    assert "by 4, the student's by 5" in refusal("tt_hidden", *hidden, "model.encoder.subsampling_factor=5")
    tokens = refusal("tt_hidden", *hidden, vocab_size=12)
    assert tokens.startswith(f"teacher.exp: token 3 is T in {exp / 'lang/bpe.model'}, R in ")
    assert "config.yaml: num_mels of the features is 80, this configuration has features.num_mels 40" in refusal(
        "tt_hidden", *hidden, "features.num_mels=40"
    )
    assert (
        refusal("tt_hidden", *hidden, "teacher.mode=streaming") == f"{exp}: has no mode streaming; its modes are full"
    )
    assert "not an experiment: it has no config.yaml" in refusal("tt_hidden", *TT, f"teacher.exp={tmp_path / 'none'}")
    assert "by 5, the student's by 4" in refusal("codert", *CODERT, "teacher.encoder.stacking=5")


def test_layers_that_a_term_cannot_compare_are_refused_before_training(tmp_path: Path) -> None:
    """By the term's key; what sizes do not tell is found by the first step, under that key too."""
    exp = write_experiment(tmp_path / "tt", load("tt_full", *TT))

    def refusal(name: str, *overrides: str) -> str:
        with pytest.raises(InputError) as caught:
            make(load(name, *overrides))
        return str(caught.value)

    hidden = [*TT, f"teacher.exp={exp}"]
    found = refusal("tt_hidden", *hidden, "model.encoder.num_layers=1")
    assert found == f"terms.hidden: hidden compares layers: model.encoder.num_layers is 1, that of teacher.exp {exp} 2"
    assert "terms.hidden: hidden compares layers: model.encoder.dim is 16" in refusal(
        "tt_hidden", *hidden, "model.encoder.dim=16"
    )
    assert "terms.heads: heads compares layers: model.encoder.num_heads is 1" in refusal(
        "tt_heads", *hidden, "model.encoder.num_heads=1"
    )
    make(load("tt_hidden", *hidden, "model.encoder.num_heads=1"))
    make(load("tt_kl", *hidden, "model.encoder.num_layers=1", "model.encoder.dim=16"))

    layers = "terms.layers={name: hidden, student: streaming, teacher: teacher}"
    found = refusal("codert", *CODERT, layers)
    assert "terms.layers: hidden compares layers" in found
    assert found.endswith("model.encoder.dim is 8, that of the teacher 12")
    separate = "teacher={name: separate, mode: {}, model: null}"
    objective = make(load("codert", *CODERT, separate, layers.replace("hidden", "heads")))
    with pytest.raises(InputError, match=r"^terms\.layers: heads: the encoder of the student gives none"):
        loss_of(objective)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["teacher=null"], "terms.encoder_logits.teacher: there is no section `teacher`"),
        (["terms.encoder_logits.student=full"], "terms.encoder_logits.student: no pass runs in mode full"),
        (["terms.encoder_logits.teacher=full"], "terms.encoder_logits.teacher: no pass runs in mode full"),
        (["model.joiner={name: tanh}"], "terms.encoder_logits: encoder_logits needs the additive joiner, not tanh"),
        (
            ["terms={}", "sampled_steps=all", "modes.full={full_context: true}", "passes.full={}"],
            "teacher: with sampled_steps: all one pass runs in a step",
        ),
        (["terms.encoder_logits.top_k=0"], "terms.encoder_logits.top_k"),
        (
            ["terms.encoder_logits.reach_teacher=true", "teacher={name: frozen, exp: x, mode: streaming}"],
            "terms.encoder_logits.reach_teacher",
        ),
        (["teacher.encoder.dims=3"], "teacher.encoder.dims: unknown key"),
    ],
)
def test_configurations_that_make_no_sense(overrides: list[str], line: str) -> None:
    with pytest.raises(InputError) as caught:
        load("codert", *overrides)
    assert line in str(caught.value)
