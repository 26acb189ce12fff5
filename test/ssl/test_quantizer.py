"""The product quantiser against torch's Gumbel softmax, loops, and its own definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dualtk.config import validate
from dualtk.errors import InputError
from dualtk.ssl.quantizer import Quantizer, QuantizerOptions, Temperature, gumbel_choice, perplexities, straight_through


def quantizer(groups: int = 2, entries: int = 5) -> Quantizer:
    torch.manual_seed(0)
    return Quantizer(6, 4, groups=groups, entries=entries, codebook_dim=8).double()


def frames(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    return torch.randn(2, 7, 6, generator=generator, dtype=torch.float64), valid


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_gumbel_agrees_with_torch(temperature: float) -> None:
    logits = torch.randn(3, 4, 5, dtype=torch.float64)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.manual_seed(5)
    drawn = gumbel_choice(ours, temperature)
    torch.manual_seed(5)
    expected = functional.gumbel_softmax(theirs, tau=temperature, hard=True)
    torch.testing.assert_close(drawn, expected)
    weight = torch.randn_like(logits)
    (drawn * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_entries_are_drawn_with_their_probability() -> None:
    torch.manual_seed(6)
    logits = torch.tensor([0.0, 1.0, 2.0])
    share = gumbel_choice(logits.expand(20000, 3), 0.5).mean(0)
    torch.testing.assert_close(share, functional.softmax(logits, 0), atol=0.01, rtol=0)


def test_a_choice_is_exactly_one_hot_and_has_the_soft_gradient() -> None:
    logits = torch.randn(50, 5, requires_grad=True)
    hard = straight_through(functional.softmax(logits, -1))
    assert bool((hard.sum(-1) == 1).all())
    assert bool(((hard == 0) | (hard == 1)).all())
    weight = torch.randn(50, 5)
    (gradient,) = torch.autograd.grad((hard * weight).sum(), logits)
    (expected,) = torch.autograd.grad((functional.softmax(logits, -1) * weight).sum(), logits)
    assert torch.equal(gradient, expected)


def test_evaluation_looks_the_likeliest_entries_up() -> None:
    one = quantizer().eval()
    x, valid = frames()
    found = one(x, valid, 2.0)
    logits = one.logits(x).view(2, 7, 2, 5)
    softmax, used = logits.softmax(-1), torch.zeros(2, 5, dtype=torch.float64)
    for b in range(2):
        for m in range(7):
            best = [int(logits[b, m, g].argmax()) for g in range(2)]
            assert found.codes[b, m].tolist() == best
            vector = torch.cat([one.codebook[g, best[g]] for g in range(2)])
            torch.testing.assert_close(found.vectors[b, m], one.output(vector))
            for g in range(2):
                used[g, best[g]] += float(valid[b, m]) / 11
    torch.testing.assert_close(found.probabilities, softmax[valid].mean(0))
    expected = [math.exp(-sum(p * math.log(p) for p in row if p > 0)) for row in used.tolist()]
    assert found.perplexities.tolist() == pytest.approx(expected)
    assert torch.equal(found.vectors, one(x, valid, 0.5).vectors)


def test_training_draws_and_its_gradient_reaches_every_weight() -> None:
    one = quantizer().train()
    x, valid = frames()
    torch.manual_seed(1)
    first, second = one(x, valid, 2.0), one(x, valid, 2.0)
    assert not torch.equal(first.codes, second.codes)
    for b in range(2):
        for m in range(7):
            vector = torch.cat([one.codebook[g, first.codes[b, m, g]] for g in range(2)])
            torch.testing.assert_close(first.vectors[b, m], one.output(vector))
    first.vectors.square().sum().backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


def test_frames_that_do_not_exist_count_nowhere() -> None:
    one = quantizer().eval()
    x, valid = frames()
    other = x.masked_fill(~valid.unsqueeze(2), 9.0)
    ours, theirs = one(x, valid, 1.0), one(other, valid, 1.0)
    assert torch.equal(ours.probabilities, theirs.probabilities)
    assert torch.equal(ours.perplexities, theirs.perplexities)


def test_perplexity_goes_from_one_entry_to_all() -> None:
    one_hot = functional.one_hot(torch.tensor([0, 3]), 8).double()
    assert perplexities(one_hot).tolist() == pytest.approx([1, 1])
    assert perplexities(torch.full((2, 8), 1 / 8, dtype=torch.float64)).tolist() == pytest.approx([8, 8])
    half = torch.tensor([[0.5, 0.5, 0, 0]], dtype=torch.float64)
    assert perplexities(half).tolist() == pytest.approx([2])


def test_the_temperature_falls_to_its_end() -> None:
    temperature = Temperature(start=2.0, end=0.5, decay=0.999995)
    assert temperature.at(0) == 2.0
    assert temperature.at(1000) == pytest.approx(2 * math.exp(1000 * math.log(0.999995)))
    assert temperature.at(400_000) == 0.5
    with pytest.raises(InputError, match=r"^x\.yaml: end: 2\.0 is above start, 0\.5$"):
        validate(Temperature, {"start": 0.5, "end": 2.0}, "x.yaml")


def test_groups_must_share_the_codebook_evenly() -> None:
    with pytest.raises(InputError, match=r"^x\.yaml: codebook_dim: 8 does not divide by 3 groups$"):
        validate(QuantizerOptions, {"groups": 3, "codebook_dim": 8}, "x.yaml")
