"""Pre-training as the trainer uses it: passes, what they share, evaluation, learning."""

from __future__ import annotations

import math

import pytest
import torch
from blocks import make_encoder
from torch import Tensor

from dualtk.config import validate
from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.masks import padding_mask
from dualtk.plan import PassPlan, PlannedPass
from dualtk.pruning.pruner import PruningOptions
from dualtk.pruning.schedule import SparsitySchedule
from dualtk.ssl.objective import ContrastiveTask, MaskingOptions, Pretraining, PretrainingOptions
from dualtk.ssl.quantizer import QuantizerOptions, Temperature
from dualtk.trainable import StepLoss

FEATURES = 8
SIZES = {"dense": 0.0, "light": 0.2, "sparse": 0.4, "sparsest": 0.6}
SPARSE = streaming(chunk=2, sparsity=0.5)


def encoder(*mode_names: str) -> Wav2VecEncoder:
    """Two feature frames make one, which hears no other."""
    network: Wav2VecEncoder = make_encoder(
        "wav2vec",
        FEATURES,
        mode_names,
        dim=12,
        num_layers=1,
        num_heads=2,
        feedforward_dim=16,
        dropout=0.0,
        channels=10,
        kernels=(4, 4),
        strides=(4, 4),
    )
    return network


def pretraining(*modes: Mode, seed: int = 0, sandwich: bool = False, **contrast: float) -> Pretraining:
    """A small task in these modes; `contrast` changes what is asked of a pass."""
    torch.manual_seed(seed)
    modes = modes or (FULL_CONTEXT, streaming(chunk=2))
    options = PretrainingOptions(
        target_dim=8,
        masking=MaskingOptions(probability=0.1, length=4),
        quantizer=QuantizerOptions(groups=2, entries=6, codebook_dim=8),
        contrast=ContrastiveTask.model_validate({"num_distractors": 10, **contrast}),
    )
    own = encoder(*(mode.name for mode in modes))
    network = options.build_network(own, torch.zeros(FEATURES), torch.ones(FEATURES))
    return options.build(network, PassPlan([PlannedPass(mode) for mode in modes], sandwich=sandwich), None)


def waves(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Raw features (waves of several periods) that change slowly enough to be guessed, and their lengths."""
    phase = 6.3 * torch.rand(4, 1, FEATURES, generator=torch.Generator().manual_seed(seed))
    period = torch.linspace(15, 40, FEATURES)
    return torch.sin(torch.arange(90).view(1, -1, 1) * 6.3 / period + phase), torch.tensor([90, 81, 40, 5])


def loss_of(one: Pretraining, step: int = 0, feats: Tensor | None = None) -> StepLoss:
    given, lengths = waves()
    nothing = torch.zeros(4, 0, dtype=torch.long)
    loss: StepLoss = one(given if feats is None else feats, lengths, nothing, torch.zeros(4, dtype=torch.long), step)
    return loss


def test_a_step_logs_what_progress_is_seen_by() -> None:
    torch.manual_seed(0)
    found = loss_of(pretraining().train(), step=1000)
    own = {f"{mode}/{key}" for mode in ("full", "streaming") for key in ("contrastive", "accuracy")}
    assert set(found.parts) == own | {
        "perplexity",
        "least_perplexity",
        "diversity",
        "penalty",
        "mask_rate",
        "temperature",
    }
    assert float(found.parts["temperature"]) == pytest.approx(Temperature().at(1000))
    assert 0.2 < float(found.parts["mask_rate"]) < 0.5
    assert 2 <= float(found.parts["perplexity"]) <= 12
    assert 1 <= float(found.parts["least_perplexity"]) <= float(found.parts["perplexity"]) / 2
    assert not any(part.requires_grad for part in found.parts.values())
    assert found.utterance_losses.shape == (4,)
    assert found.utterance_losses.tolist()[3] == 0  # too short for a span


def test_a_dead_group_shows_in_the_log() -> None:
    """The other group hides it from the sum."""
    one = pretraining().eval()
    with torch.no_grad():
        one.network.quantizer.logits.bias[2] = 1e4  # of the six entries of the first group
    found = loss_of(one)
    assert float(found.parts["least_perplexity"]) == 1
    assert float(found.parts["perplexity"]) > 3


def test_the_total_is_in_nats_for_each_masked_frame() -> None:
    one = pretraining(diversity_weight=0.0, penalty_weight=0.0).eval()
    found = loss_of(one)
    draw = one.draw(torch.tensor([45, 41, 20, 3]), 45)
    counts = draw.frames.valid.sum(1)
    total = found.total.detach()
    torch.testing.assert_close(total, (found.utterance_losses * counts).sum() / counts.sum())
    torch.testing.assert_close(total, found.parts["full/contrastive"] + found.parts["streaming/contrastive"])
    assert float(found.parts["full/contrastive"]) < 2 * math.log(11)


def test_weights_scale_what_they_weigh() -> None:
    one = pretraining(FULL_CONTEXT, num_distractors=100, diversity_weight=0.5, penalty_weight=3.0).eval()
    one.plan = PassPlan([PlannedPass(FULL_CONTEXT, 2.0)])
    found = loss_of(one)
    parts = {key: float(part) for key, part in found.parts.items()}
    expected = 2 * (parts["full/contrastive"] + 0.5 * parts["diversity"] + 3 * parts["penalty"])
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_evaluation_depends_on_the_batch_alone() -> None:
    one = pretraining().eval()
    torch.manual_seed(1)
    before, first = torch.get_rng_state(), loss_of(one)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first.total, loss_of(one).total)


def test_training_follows_the_global_state() -> None:
    one = pretraining().train()
    totals = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        totals.append(float(loss_of(one).total.detach()))
    assert totals[0] == totals[1] != totals[2]


def test_passes_share_the_mask_and_the_distractors() -> None:
    """Twice the same mode: with the same likeliest codes nothing can differ."""
    one = pretraining(FULL_CONTEXT, Mode("other", True)).eval()
    parts = loss_of(one).parts
    assert torch.equal(parts["full/contrastive"], parts["other/contrastive"])


def test_padding_changes_nothing() -> None:
    one = pretraining().eval()
    feats, lengths = waves()
    spoiled = feats.masked_fill(~padding_mask(lengths, 90).unsqueeze(2), 50.0)
    torch.testing.assert_close(loss_of(one, feats=feats).total, loss_of(one, feats=spoiled).total)


def test_a_masked_frame_is_hidden_from_the_context_but_not_from_the_target() -> None:
    network = pretraining().network.eval()
    one = pretraining().eval()
    feats, lengths = waves()
    draw = one.draw((lengths + 1) // 2, 45)
    frame = int(draw.frames.index[0, 0])
    changed = feats.clone()
    changed[0, 2 * frame : 2 * frame + 2] += 3.0
    first, second = (network(x, lengths, FULL_CONTEXT, draw.mask, draw.frames, 1.0) for x in (feats, changed))
    assert torch.equal(first.context, second.context)
    assert not torch.equal(first.targets.vectors, second.targets.vectors)


def test_every_weight_learns() -> None:
    one = pretraining().train()
    loss_of(one).total.backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


def test_the_gradient_of_the_extractor_is_scaled_down() -> None:
    gradients = []
    for scale in (1.0, 0.1):
        one = pretraining().eval()
        one.network.extractor_gradient = scale
        loss_of(one).total.backward()
        gradients.append(one.network.encoder.extractor.layers[0].weight.grad)
    torch.testing.assert_close(gradients[1], 0.1 * gradients[0])


def test_a_batch_without_a_masked_frame_has_a_finite_loss_that_reaches_all() -> None:
    one = pretraining().train()
    feats, _ = waves()
    nothing = torch.zeros(4, dtype=torch.long)
    found: StepLoss = one(feats[:, :5], torch.tensor([5, 4, 3, 2]), nothing.view(4, 1), nothing, 0)
    found.total.backward()
    assert bool(torch.isfinite(found.total))
    assert found.utterance_losses.tolist() == [0.0] * 4
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_agrees(kind: torch.dtype) -> None:
    one = pretraining().eval()
    expected = loss_of(one)
    with torch.autocast("cpu", dtype=kind):
        found = loss_of(one)
    assert found.total.dtype == torch.float32
    torch.testing.assert_close(found.total, expected.total, rtol=0.05, atol=0)


def test_look_ahead_advances_the_input() -> None:
    network, one = pretraining().network.eval(), pretraining().eval()
    feats, lengths = waves()
    draw = one.draw((lengths + 1) // 2, 45)
    ahead = network(feats, lengths, streaming(chunk=2, look_ahead_ms=40), draw.mask, draw.frames, 1.0)
    shifted = torch.cat([feats[:, 4:], torch.zeros(4, 4, FEATURES)], 1)
    plain = network(shifted, lengths, streaming(chunk=2), draw.mask, draw.frames, 1.0)
    assert torch.equal(ahead.context, plain.context)
    assert torch.equal(ahead.targets.codes, plain.targets.codes)


def test_the_sparse_pass_is_pruned_during_training() -> None:
    one = pretraining(FULL_CONTEXT, SPARSE)
    pruning = PruningOptions(schedule=SparsitySchedule(shape="linear", start_step=0, end_step=10, interval=1))
    pruning.add_masks(one.network, [SPARSE])
    one.pruner = pruning.build(one.network, [SPARSE])
    one.train()
    for step, expected in ((0, 0.0), (5, 0.25), (10, 0.5)):
        one.pruner.update(step)
        assert float(loss_of(one, step).parts["streaming/sparsity"]) == pytest.approx(expected, abs=0.01)


def test_the_sandwich_leaves_passes_out() -> None:
    sizes = [streaming(sparsity=value, name=name) for name, value in SIZES.items()]
    one = pretraining(FULL_CONTEXT, *sizes, sandwich=True).train()
    assert one.plan.draws(0)
    drawn = [{key.split("/")[0] for key in loss_of(one, step).parts if key.endswith("contrastive")} for step in (0, 1)]
    assert all({"full", "dense", "sparsest"} < names and len(names) == 4 for names in drawn)
    one.eval()
    assert sum(key.endswith("contrastive") for key in loss_of(one).parts) == 5


def test_weights_of_the_encoder_have_a_transducers_names() -> None:
    names = set(pretraining().network.state_dict())
    assert {f"encoder.{name}" for name in encoder("full", "streaming").state_dict()} < names
    assert {"feature_mean", "feature_istd", "mask_embedding", "quantizer.codebook"} < names


@pytest.mark.slow
def test_thirty_steps_lower_the_loss() -> None:
    one = pretraining()
    optimizer = torch.optim.Adam(one.parameters(), lr=0.01)
    before = loss_of(one.eval())
    for step in range(30):
        torch.manual_seed(step)
        one.train()
        found = loss_of(one, step)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
    after = loss_of(one.eval())
    assert bool(after.total < 0.7 * before.total)
    for mode in ("full", "streaming"):
        key, chance = f"{mode}/contrastive", math.log(11)
        assert float(after.parts[key]) < chance < float(before.parts[key])


@pytest.mark.parametrize("task", [{"num_distractors": 0}, {"kappa": 0.0}])
def test_impossible_tasks_are_refused(task: dict[str, float]) -> None:
    (key,) = task
    with pytest.raises(InputError, match=rf"^x\.yaml: {key}: must be greater than 0, not 0"):
        validate(ContrastiveTask, task, "x.yaml")
