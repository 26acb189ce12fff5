"""The CTC loss against every alignment, its gradient against finite differences, and its place in the objective."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, TINY
from torch import Tensor

from dualtk.config import dump
from dualtk.errors import InputError
from dualtk.objective import Objective
from dualtk.system import TransducerSystem, load
from dualtk.trainable import StepLoss
from dualtk.transducer.ctc import CTCHead, CTCLoss, CTCOptions, greedy_error_rates, unalignable

VOCABULARY = 10
ENCODERS = {
    "conformer": [],
    "transformer": ["model.encoder={name: transformer, dim: 16, num_layers: 2, num_heads: 2, feedforward_dim: 24}"],
    "lstm": ["model.encoder={name: lstm, dim: 12, num_layers: 3}"],
    "contextnet": ["model.encoder={name: contextnet, alpha: 0.04, layers_per_block: 1}"],
    "wav2vec": [
        "features={kind: samples}",
        "model.encoder={name: wav2vec, dim: 16, num_layers: 2, num_heads: 2, feedforward_dim: 24, channels: 8}",
    ],
}
LSTM = "{name: lstm, dim: 12, num_layers: 1, dropout: 0.0, stacking: 4, time_reduction: 1}"


def plain_loss() -> CTCLoss:
    return CTCLoss(weight=1.0, final_weight=None, decay_steps=0)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def test_error_rates_are_those_of_the_best_paths() -> None:
    """1 1 0 1 2 says 1 1 2; of a shorter row nothing beyond its length counts."""
    log_probs = torch.full((3, 5, 3), -9.0)
    for row, classes in enumerate([[1, 1, 0, 1, 2], [2, 0, 0, 1, 1], [0, 0, 0, 0, 0]]):
        log_probs[row, torch.arange(5), torch.tensor(classes)] = 0.0
    targets, lengths = torch.tensor([[1, 1, 2], [1, 2, 0], [0, 0, 0]]), torch.tensor([3, 2, 0])
    rates = greedy_error_rates(log_probs, torch.tensor([5, 3, 5]), targets, lengths)
    assert rates.tolist() == [0.0, 0.5, 0.0]


def by_brute_force(log_probs: Tensor, targets: tuple[int, ...]) -> float:
    """-log of the summed probability of all paths (T, V) that collapse to `targets`."""
    num_frames, num_classes = log_probs.shape
    total = sum(
        math.exp(sum(log_probs[t, token].item() for t, token in enumerate(path)))
        for path in itertools.product(range(num_classes), repeat=num_frames)
        if collapse(path) == targets
    )
    return -math.log(total) if total else math.inf


def test_the_loss_is_that_of_every_alignment() -> None:
    torch.manual_seed(0)
    every = [(), (1,), (1, 1), (2, 1), (1, 2, 1), (2, 2, 1), (3, 3, 3)]
    lengths = torch.tensor([5, 3, 4, 2, 5, 4, 5])
    log_probs = torch.randn(len(every), 5, 4, dtype=torch.float64).log_softmax(2)
    targets = torch.zeros(len(every), 3, dtype=torch.int64)
    for row, one in enumerate(every):
        targets[row, : len(one)] = torch.tensor(one)
    found = plain_loss()(log_probs, lengths, targets, torch.tensor([len(one) for one in every]))
    for row, one in enumerate(every):
        assert found[row].item() == pytest.approx(by_brute_force(log_probs[row, : lengths[row]], one))


def test_the_gradient_of_the_head_is_that_of_finite_differences() -> None:
    torch.manual_seed(1)
    head = CTCHead(4, 5).double()
    frames = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    lengths, targets = torch.tensor([6, 4, 5]), torch.tensor([[1, 2, 2], [3, 0, 0], [0, 0, 0]])
    target_lengths = torch.tensor([3, 1, 0])

    def value(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        log_probs = torch.func.functional_call(head, {"output.weight": weight, "output.bias": bias}, (frames,))
        # A second reader of the same log-probabilities, as a term of distillation is.
        return plain_loss()(log_probs, lengths, targets, target_lengths) * 0.3 + log_probs[:, :3, 1].sum(1)

    assert torch.autograd.gradcheck(value, (frames, *head.parameters()))


def test_what_cannot_be_aligned_costs_nothing() -> None:
    """Neither loss nor gradient, and the other utterances are what they are alone."""
    torch.manual_seed(2)
    frames = torch.randn(4, 4, 6, requires_grad=True)
    targets = torch.tensor([[1, 2, 3, 4], [1, 1, 2, 0], [1, 2, 3, 4], [5, 5, 5, 5]])
    lengths, target_lengths = torch.tensor([3, 4, 4, 4]), torch.tensor([4, 3, 4, 4])
    impossible = unalignable(lengths, targets, target_lengths)
    assert impossible.tolist() == [True, False, False, True]
    loss = plain_loss()(frames.log_softmax(2), lengths, targets, target_lengths)
    assert torch.equal(loss[impossible], torch.zeros(2))
    assert (loss[~impossible] > 0).all()
    (gradient,) = torch.autograd.grad(loss.sum(), frames)
    assert torch.isfinite(gradient).all()
    assert torch.equal(gradient[impossible], torch.zeros_like(gradient[impossible]))
    kept = frames.detach()[1:3].requires_grad_()
    alone = plain_loss()(kept.log_softmax(2), lengths[1:3], targets[1:3], target_lengths[1:3])
    assert torch.equal(alone, loss[1:3])
    assert torch.equal(torch.autograd.grad(alone.sum(), kept)[0], gradient[1:3])


def test_whether_labels_fit_is_counted_right() -> None:
    """Against the brute force, for every transcript of up to four labels out of two."""
    uniform = torch.full((4, 3), 1 / 3, dtype=torch.float64).log()
    for count in range(5):
        for one in itertools.product((1, 2), repeat=count):
            targets = torch.tensor([[*one, *[1] * (4 - count)]])  # what lies beyond the length does not count
            for num_frames in range(1, 5):
                found = unalignable(torch.tensor([num_frames]), targets, torch.tensor([count]))
                assert bool(found) == math.isinf(by_brute_force(uniform[:num_frames], one))
    empty = torch.zeros(2, 0, dtype=torch.int64)
    assert not unalignable(torch.tensor([1, 2]), empty, torch.tensor([0, 0])).any()
    assert torch.isfinite(plain_loss()(torch.zeros(2, 2, 3), torch.tensor([1, 2]), empty, torch.tensor([0, 0]))).all()


def test_log_probabilities_are_float32_under_autocast() -> None:
    head, frames = CTCHead(8, 5), torch.randn(2, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(frames).dtype == torch.float32
    assert head.double()(frames.double()).dtype == torch.float64
    torch.testing.assert_close(head(frames.double()).exp().sum(2), torch.ones(2, 3, dtype=torch.float64))


def test_the_weight_stays_or_goes_linearly() -> None:
    constant = CTCOptions().build()
    assert [constant.weight_at(step) for step in (0, 7, 10**6)] == [0.3, 0.3, 0.3]
    fading = CTCOptions(weight=5.0, final_weight=1.0, decay_steps=4).build()
    assert [fading.weight_at(step) for step in (0, 1, 2, 4, 9)] == pytest.approx([5.0, 4.0, 3.0, 1.0, 1.0])
    assert CTCOptions(weight=1.0, final_weight=0.0, decay_steps=4).build().weight_at(4) == 0.0


# The objective.


def load_system(*overrides: str) -> TransducerSystem:
    system = load(CONFIG, overrides=[*TINY, "augment=null", *overrides])
    assert isinstance(system, TransducerSystem)
    return system


def make(*overrides: str) -> Objective:
    system = load_system(*overrides)
    torch.manual_seed(0)
    dim = system.features.dim
    return system.build_objective(system.build_network(VOCABULARY, torch.zeros(dim), torch.ones(dim)))


def loss_of(objective: Objective, step: int = 0, labels: int = 4) -> StepLoss:
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 64, objective.network.encoder.input_dim, generator=generator)
    targets = torch.randint(1, VOCABULARY, (3, labels), generator=generator)
    torch.manual_seed(2)
    result: StepLoss = objective(feats, torch.tensor([64, 48, 40]), targets, torch.tensor([labels, 3, 1]), step)
    return result


@pytest.mark.parametrize("loss", ["loss={name: exact}", "loss={name: pruned, prune_range: 3}"])
def test_ctc_is_added_to_every_pass_with_its_weight(loss: str) -> None:
    passes = "passes={full: {weight: 0.25}, streaming: {weight: 2.0}}"
    without, beside = make(loss, passes).eval(), make(loss, passes, "ctc={weight: 0.4}").eval()
    beside.criterion.load_state_dict(without.criterion.state_dict())  # drawn after the head
    alone, both = loss_of(without), loss_of(beside)
    of_modes = {f"{mode}/{key}" for mode in ("full", "streaming") for key in ("ctc", "ctc_errors")}
    assert set(both.parts) - set(alone.parts) == {*of_modes, "ctc_unalignable"}
    for key, value in alone.parts.items():
        assert torch.equal(value, both.parts[key])
    ctc = 0.25 * both.parts["full/ctc"] + 2.0 * both.parts["streaming/ctc"]
    torch.testing.assert_close(both.total.detach(), alone.total.detach() + 0.4 * ctc)
    torch.testing.assert_close(both.utterance_losses.mean(), both.total.detach())
    rnnt = [both.parts[f"{name}/rnnt"].item() for name in ("full", "streaming")]
    assert beside.choice_loss({key: float(value) for key, value in both.parts.items()}) == sum(rnnt) / 2


def test_other_systems_are_as_they_were() -> None:
    """No tensor more, and the same numbers drawn; with the head it alone comes after them."""
    without, beside = make().network, make("ctc={}").network
    own, other = without.state_dict(), beside.state_dict()
    assert other.keys() - own.keys() == {"ctc.output.weight", "ctc.output.bias"}
    assert all(torch.equal(value, other[key]) for key, value in own.items())
    assert other["ctc.output.weight"].shape == (VOCABULARY, 16)
    assert set(loss_of(make()).parts) == {"full/rnnt", "full/simple", "streaming/rnnt", "streaming/simple"}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_in_every_mode_has_the_one_head(encoder: str) -> None:
    """All parameters get a gradient in each step, also once the weight is zero, as several processes need."""
    objective = make(*ENCODERS[encoder], "ctc={weight: 1.0, final_weight: 0.0, decay_steps: 10}")
    gradients = []
    for step in (0, 10):
        objective.zero_grad()
        loss = loss_of(objective, step)
        assert {"full/ctc", "streaming/ctc"} <= loss.parts.keys()
        loss.total.backward()
        assert [name for name, one in objective.named_parameters() if one.grad is None] == []
        assert objective.network.ctc is not None
        gradients.append(objective.network.ctc.output.weight.grad.abs().sum())
    assert gradients[0] > 0
    assert gradients[1] == 0


def test_a_drawn_pass_has_its_ctc_alone() -> None:
    objective = make("ctc={}", "sampled_steps=20")
    for step in range(6):
        keys = {key for key in loss_of(objective, step).parts if key.endswith("/ctc")}
        assert len(keys) == 1
    assert {"full/ctc", "streaming/ctc"} <= loss_of(objective, 20).parts.keys()


@pytest.mark.parametrize("name", ["shared_decoder", "separate"])
def test_a_teacher_that_learns_has_a_head_of_its_own(name: str) -> None:
    model = load_system().model.encoder.model_dump_json() if name == "separate" else LSTM
    teacher = f"teacher={{name: {name}, mode: {{full_context: true}}" + (
        "}" if name == "separate" else f", encoder: {model}}}"
    )
    objective = make("ctc={weight: 0.5}", teacher)
    assert objective.teacher is not None
    loss = loss_of(objective)
    assert {"full/ctc", "streaming/ctc", "teacher/ctc"} <= loss.parts.keys()
    loss.total.backward()
    assert [key for key, one in objective.named_parameters() if one.grad is None] == []
    own, taught = objective.network.ctc, objective.teacher.network.ctc
    assert own is not None
    assert taught is not None
    assert own is not taught
    assert make(teacher).teacher.network.ctc is None  # type: ignore[union-attr]
    # It is kept as a system of its own, which loads what was trained.
    alone = load_system("ctc={weight: 0.5}", teacher).teacher_alone()
    assert alone is not None
    dim = alone.features.dim
    alone.build_network(VOCABULARY, torch.zeros(dim), torch.ones(dim)).load_state_dict(
        objective.networks()["teacher"].state_dict()
    )


def test_bfloat16_gives_finite_losses_in_float32() -> None:
    objective = make("ctc={}")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(objective)
    assert loss.parts["streaming/ctc"].dtype == torch.float32
    loss.total.backward()
    assert all(torch.isfinite(one.grad).all() for one in objective.parameters())


def test_too_many_labels_are_counted_and_harm_nothing() -> None:
    objective = make("ctc={}", "loss={name: exact}")
    loss = loss_of(objective, labels=30)  # 64 feature frames are 16 encoder frames
    assert loss.parts["ctc_unalignable"].item() == pytest.approx(1 / 3)
    loss.total.backward()
    assert all(torch.isfinite(one.grad).all() for one in objective.parameters())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ctc={weight: -1.0}", r"ctc\.weight: .*greater than or equal to 0"),
        ("ctc={weight: 0.0}", r"ctc\.weight: 0 trains no head"),
        ("ctc={final_weight: 0.1}", r"ctc\.final_weight: goes with decay_steps"),
        ("ctc={decay_steps: 5}", r"ctc\.final_weight: goes with decay_steps"),
        ("ctc={scale: 1.0}", r"ctc\.scale: unknown key"),
    ],
)
def test_what_the_section_refuses(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_system(override)


def test_the_section_survives_the_way_to_yaml_and_back(tmp_path: Path) -> None:
    system = load_system("ctc={weight: 2.0, final_weight: 0.3, decay_steps: 30}")
    (tmp_path / "config.yaml").write_text(dump(system))
    assert load(tmp_path / "config.yaml") == system
    assert system.unreached() == ["ctc.decay_steps: 30, but train.max_steps is 12"]
    assert "ctc: null" in dump(load_system())
