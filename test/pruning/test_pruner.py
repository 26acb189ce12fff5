"""Masks over training: exact at every step, monotone, nested; gradients as they should be."""

from __future__ import annotations

import copy

import pytest
import torch
from blocks import make_encoder
from torch import Tensor, nn

from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.masked import MaskedLinear
from dualtk.pruning.masks import Scope, add_masks, kind_of, prunable_layers
from dualtk.pruning.patterns import Blocks, KeepOfGroup, Pattern
from dualtk.pruning.pruner import Pruner
from dualtk.pruning.sandwich import sandwich
from dualtk.pruning.schedule import SparsitySchedule

SPARSE = streaming(chunk=2, left_context=4, sparsity=0.7)
CUBIC = SparsitySchedule(shape="cubic", start_step=10, end_step=50, interval=4)


def network(**changes: object) -> nn.Module:
    """Widths that 8x1 and 1:4 divide, and enough weights for shares of a hundredth."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "num_layers": 2, "num_heads": 2, "feedforward_dim": 24, "kernel": 5, "subsampling_channels": 3}
    encoder: nn.Module = make_encoder("conformer", 8, dropout=0.0, **sizes, **changes)
    return encoder


def pruner(
    one: nn.Module,
    *modes: Mode,
    pattern: Pattern = Blocks(),  # noqa: B008 (frozen)
    scope: Scope = "layer",
    schedule: SparsitySchedule = CUBIC,
    regrow: bool = False,
) -> Pruner:
    add_masks(one, modes or [SPARSE], straight_through=False)
    return Pruner(one, modes or [SPARSE], pattern, scope, schedule, regrow)


def shake(one: nn.Module) -> None:
    """What an optimiser does to the ranking of weights."""
    with torch.no_grad():
        for layer in prunable_layers(one).values():
            layer.weight.add_(0.5 * layer.weight.std() * torch.randn_like(layer.weight))


def test_schedules_by_their_formulas() -> None:
    assert [CUBIC.updates(step) for step in (9, 10, 11, 14, 48, 50, 51, 54)] == [0, 1, 0, 1, 0, 1, 0, 0]
    assert CUBIC.fraction(9) == 0.0
    for step in range(10, 50):
        seen = 10 + (step - 10) // 4 * 4
        assert CUBIC.fraction(step) == pytest.approx(1 - (1 - (seen - 10) / 40) ** 3)
    assert CUBIC.fraction(50) == CUBIC.fraction(500) == 1.0
    linear = SparsitySchedule(shape="linear", end_step=10, initial=0.5)
    assert [linear.fraction(step) for step in (0, 5, 10)] == [0.5, 0.75, 1.0]
    constant = SparsitySchedule(shape="constant", start_step=7, end_step=100, interval=5)
    assert [constant.fraction(step) for step in (6, 7, 8)] == [0.0, 1.0, 1.0]
    assert [step for step in range(120) if constant.updates(step)] == [7]
    for schedule in (CUBIC, linear, constant):
        fractions = [schedule.fraction(step) for step in range(120)]
        assert fractions == sorted(fractions)
        assert schedule.fraction(schedule.settled_step) == 1.0


@pytest.mark.parametrize("scope", ["layer", "kind", "global"])
@pytest.mark.parametrize("pattern", [Blocks(), Blocks(8, 1), KeepOfGroup(1, 4)], ids=str)
def test_exact_at_every_step_and_monotone(pattern: Pattern, scope: Scope) -> None:
    """However the weights move, each step has the sparsity that its schedule says, and no weight comes back."""
    one = network()
    own = pruner(one, pattern=pattern, scope=scope)
    gone: dict[str, Tensor] = {}
    for step in range(60):
        before = own.masks("streaming")
        before = {name: mask.clone() for name, mask in before.items()}
        own.update(step)
        share = CUBIC.fraction(step) * 0.7 / pattern.unit_sparsity
        groups: dict[str, tuple[int, int]] = {}
        for name, mask in own.masks("streaming").items():
            units = pattern.scores((~mask).float()) > 0
            key = {"layer": name, "kind": kind_of(name), "global": ""}[scope]
            pruned, total = groups.get(key, (0, 0))
            groups[key] = (pruned + int(units.sum()), total + len(units))
            assert not (mask & gone.get(name, torch.zeros_like(mask))).any()
            gone[name] = ~mask
            assert CUBIC.updates(step) or torch.equal(mask, before[name])
        for pruned, total in groups.values():
            assert pruned == round(share * total)
        shake(one)
    assert own.sparsities()["streaming"] == pytest.approx(0.7, abs=0.02)


def test_masks_may_regrow_where_asked() -> None:
    one = network()
    own = pruner(one, regrow=True)
    own.draw(0.5)
    before = own.masks("streaming")["stack.blocks.0.attention.input"].clone()
    shake(one)
    own.draw(0.6)
    after = own.masks("streaming")["stack.blocks.0.attention.input"]
    assert (after & ~before).any()
    layer = prunable_layers(one)["stack.blocks.0.attention.input"]
    assert layer.weight.abs()[after].min() >= layer.weight.abs()[~after].max()


def test_sizes_are_nested() -> None:
    modes = [streaming(sparsity=size, name=f"streaming_{round(size * 100)}") for size in (0.9, 0.5, 0.7)]
    one = network(mode_names=("full", *(mode.name for mode in modes)))
    own = pruner(one, *modes)
    for step in range(60):
        own.update(step)
        shake(one)
    for name, smallest in own.masks("streaming_90").items():
        middle, largest = own.masks("streaming_70")[name], own.masks("streaming_50")[name]
        assert not (smallest & ~middle).any()
        assert not (middle & ~largest).any()
    assert own.sparsities() == pytest.approx({"streaming_90": 0.9, "streaming_70": 0.7, "streaming_50": 0.5}, abs=0.01)


def run(one: nn.Module, mode: Mode) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    feats = torch.randn(2, 24, 8, generator=generator)
    frames: Tensor = one(feats, torch.tensor([24, 17]), mode).frames
    return frames[0].square().sum() + frames[1, :4].sum()


@pytest.mark.parametrize("straight_through", [False, True])
def test_checkpointing_leaves_gradients_as_they_are(straight_through: bool) -> None:
    """Dense and sparse pass in one graph: the recomputation must know which of the two it repeats."""
    gradients = []
    for checkpoint in (False, True):
        one = network(gradient_checkpointing=checkpoint)
        own = pruner(one)
        for layer in own.layers.values():
            layer.straight_through = straight_through
        own.draw()
        (run(one, FULL_CONTEXT) + 0.3 * run(one, SPARSE)).backward()
        gradients.append([parameter.grad for parameter in one.parameters()])
    for plain, recomputed in zip(*gradients):
        torch.testing.assert_close(recomputed, plain, rtol=0, atol=0)


def test_the_sparse_pass_is_that_of_a_network_without_the_masked_weights() -> None:
    one = network().eval()
    own = pruner(one)
    own.draw()
    dense = run(one, FULL_CONTEXT)
    plain = copy.deepcopy(one)
    with torch.no_grad():
        for name, layer in prunable_layers(plain).items():
            layer.weight.mul_(own.masks("streaming")[name])
    torch.testing.assert_close(run(plain, streaming(chunk=2, left_context=4)), run(one, SPARSE), rtol=0, atol=1e-6)
    add_masks(one, [], straight_through=False)
    torch.testing.assert_close(run(one, FULL_CONTEXT), dense, rtol=0, atol=0)


def test_both_passes_reach_the_shared_weights() -> None:
    one = network()
    own = pruner(one)
    own.draw()
    layer, mask = (
        prunable_layers(one)["stack.blocks.0.attention.input"],
        own.masks("streaming")["stack.blocks.0.attention.input"],
    )

    def gradient(*modes: Mode) -> Tensor:
        one.zero_grad()
        torch.stack([run(one, mode) for mode in modes]).sum().backward()
        assert layer.weight.grad is not None
        return layer.weight.grad.clone()

    dense, sparse = gradient(FULL_CONTEXT), gradient(SPARSE)
    assert (sparse[~mask] == 0).all()
    assert (sparse[mask] != 0).any()
    assert (dense[~mask] != 0).any()
    torch.testing.assert_close(gradient(FULL_CONTEXT, SPARSE), dense + sparse)
    layer.straight_through = True
    assert (gradient(SPARSE)[~mask] != 0).any()


def test_every_pointwise_convolution_and_linear_layer_of_the_blocks_is_prunable() -> None:
    names = {kind_of(name) for name in prunable_layers(network())}
    branches = {"first_feedforward", "second_feedforward", "attention", "convolution"}
    assert {f"stack.blocks.{branch}.{end}" for branch in branches for end in ("input", "output")} <= names
    contextnet = make_encoder("contextnet", 8, ["full"], alpha=1 / 32, layers_per_block=1, dropout=0.0)
    names = {kind_of(name) for name in prunable_layers(contextnet)}
    assert {"blocks.convolutions.pointwise", "blocks.shortcut", "blocks.excitation.squeeze"} <= names


def test_faults_are_named() -> None:
    with pytest.raises(InputError, match="no mode is sparse"):
        pruner(network(), FULL_CONTEXT)
    with pytest.raises(InputError, match="no layer can be masked"):
        pruner(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"modes\.streaming\.sparsity: 2:4 removes 0\.5 at most"):
        pruner(network(), pattern=KeepOfGroup(2, 4))
    with pytest.raises(InputError, match="2:4 needs inputs in groups of 4, 0 has 6"):
        pruner(nn.Sequential(MaskedLinear(6, 4)), streaming(sparsity=0.5), pattern=KeepOfGroup(2, 4))


def test_the_sandwich_rule() -> None:
    sizes = [streaming(sparsity=size, name=f"s{size}") for size in (0.0, 0.5, 0.6, 0.7, 0.9)]
    modes = [FULL_CONTEXT, *sizes]
    drawn = set()
    for step in range(50):
        chosen = sandwich(modes, 1, step)
        assert chosen == sandwich(modes, 1, step)
        assert len(chosen) == 4
        assert {FULL_CONTEXT, sizes[0], sizes[-1]} <= set(chosen)
        drawn |= set(chosen) - {FULL_CONTEXT, sizes[0], sizes[-1]}
    assert drawn == set(sizes[1:-1])
    assert sandwich(modes[:4], 1, 0) == modes[:4]
