"""Patterns: units, their scores and masks, against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.utils import prune

from dualtk.errors import InputError
from dualtk.nn.masked import MaskedLinear
from dualtk.pruning.masks import Scope, grouped, lowest, magnitude_masks
from dualtk.pruning.patterns import Blocks, KeepOfGroup, parse_pattern, require_reach


def layer(outputs: int, inputs: int, seed: int = 0) -> MaskedLinear:
    one = MaskedLinear(inputs, outputs)
    with torch.no_grad():
        one.weight.copy_(torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)))
    return one


def test_patterns_are_parsed_and_nothing_else() -> None:
    assert parse_pattern("unstructured") == Blocks()
    assert parse_pattern("8x1") == Blocks(8, 1)
    assert parse_pattern("2:4") == KeepOfGroup(2, 4)
    assert [str(parse_pattern(text)) for text in ("unstructured", "8x1", "2:4")] == ["unstructured", "8x1", "2:4"]
    for text in ("4:2", "4:4", "0x1", "8", "2 4", ""):
        with pytest.raises(InputError, match=r"^pruning\.pattern: "):
            parse_pattern(text)
        with pytest.raises(InputError, match=r"^--pattern: "):
            parse_pattern(text, "--pattern")


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.7, 0.9, 1.0])
def test_unstructured_equals_torchs_own_pruning(sparsity: float) -> None:
    own = layer(13, 7)
    mask = magnitude_masks({"a": own}, Blocks(), "layer", sparsity)["a"]
    theirs = torch.nn.Linear(7, 13)
    theirs.weight.data.copy_(own.weight)
    prune.l1_unstructured(theirs, "weight", amount=round(sparsity * 91))
    assert torch.equal(mask, theirs.get_buffer("weight_mask").bool())


def test_global_scope_equals_torchs_own_pruning() -> None:
    layers = {"a": layer(5, 7, 1), "b": layer(4, 9, 2)}
    masks = magnitude_masks(layers, Blocks(), "global", 0.6)
    theirs = [torch.nn.Linear(7, 5), torch.nn.Linear(9, 4)]
    for one, own in zip(theirs, layers.values()):
        one.weight.data.copy_(own.weight)
    prune.global_unstructured(
        [(one, "weight") for one in theirs], pruning_method=prune.L1Unstructured, amount=round(0.6 * 71)
    )
    for one, mask in zip(theirs, masks.values()):
        assert torch.equal(mask, one.get_buffer("weight_mask").bool())


def test_equal_magnitudes_still_give_the_exact_count() -> None:
    for count in range(10):
        assert int(lowest(torch.ones(9), count).sum()) == count
        assert int(lowest(torch.tensor([2.0, 1, 1, 1, 2, 0, 0, 3, 1]), count).sum()) == count
    own = MaskedLinear(8, 6)
    torch.nn.init.constant_(own.weight, 0.5)
    for pattern, sparsity in ((Blocks(), 0.75), (Blocks(2, 2), 0.5), (KeepOfGroup(2, 4), 0.5)):
        kept = magnitude_masks({"a": own}, pattern, "layer", sparsity)["a"]
        assert float(kept.float().mean()) == 1 - sparsity


@pytest.mark.parametrize(("height", "width"), [(8, 1), (1, 4), (2, 3), (4, 4)])
def test_blocks_by_brute_force(height: int, width: int) -> None:
    """17 x 10 is no multiple of any of them: blocks at the edge are smaller."""
    own = layer(17, 10)
    mask = magnitude_masks({"a": own}, Blocks(height, width), "layer", 0.5)["a"]
    means = {}
    for row, column in itertools.product(range(0, 17, height), range(0, 10, width)):
        block = own.weight[row : row + height, column : column + width]
        means[row, column] = float(block.detach().abs().mean())
    gone = sorted(means, key=lambda corner: means[corner])[: round(0.5 * len(means))]
    expected = torch.ones(17, 10, dtype=torch.bool)
    for row, column in gone:
        expected[row : row + height, column : column + width] = False
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(("keep", "group"), [(2, 4), (1, 4), (4, 8), (1, 2)])
def test_n_of_m_holds_and_keeps_the_largest(keep: int, group: int) -> None:
    own = layer(6, 16)
    pattern = KeepOfGroup(keep, group)
    mask = magnitude_masks({"a": own}, pattern, "layer", pattern.unit_sparsity)["a"]
    groups = mask.view(-1, group)
    assert (groups.sum(1) == keep).all()
    magnitudes = own.weight.detach().abs().view(-1, group)
    assert (magnitudes.masked_fill(~groups, 9.0).amin(1) >= magnitudes.masked_fill(groups, 0.0).amax(1)).all()


def test_half_the_groups_are_masked_at_half_the_sparsity() -> None:
    own, pattern = layer(6, 16), KeepOfGroup(2, 4)
    groups = magnitude_masks({"a": own}, pattern, "layer", 0.25)["a"].view(-1, 4).sum(1)
    assert sorted(groups.tolist()) == [2] * 12 + [4] * 12
    lost = own.weight.detach().abs().view(-1, 4).sort(1).values[:, :2].sum(1)
    assert lost[groups == 2].max() <= lost[groups == 4].min()


def test_n_of_m_refuses_what_it_cannot_divide_or_reach() -> None:
    with pytest.raises(InputError, match=r"groups of 4, block\.input has 10"):
        KeepOfGroup(2, 4).check(torch.zeros(3, 10), "block.input")
    with pytest.raises(InputError, match=r"^--sparsity: 2:4 removes"):
        require_reach(KeepOfGroup(2, 4), 0.6, "--sparsity")
    with pytest.raises(InputError, match=r"2:4 removes 0\.5 at most, not 0\.7"):
        magnitude_masks({"a": layer(4, 8)}, KeepOfGroup(2, 4), "layer", 0.7)


@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("layer", [["blocks.0.a"], ["blocks.0.b"], ["blocks.1.a"]]),
        ("kind", [["blocks.0.a", "blocks.1.a"], ["blocks.0.b"]]),
        ("global", [["blocks.0.a", "blocks.0.b", "blocks.1.a"]]),
    ],
)
def test_scopes_group_layers(scope: Scope, groups: list[list[str]]) -> None:
    assert grouped(["blocks.0.a", "blocks.0.b", "blocks.1.a"], scope) == groups
