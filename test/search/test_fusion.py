"""Fusion on lattices small enough to list: every hypothesis has its score without, and what the equations add."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_networks import random_frames, search_parts
from torch import Tensor

from dualtk.lm import LSTMLanguageModelOptions
from dualtk.lm.hypotheses import NeuralModel
from dualtk.search.beam import BeamSearch
from dualtk.search.fusion import Fusion, WeightedModel
from dualtk.search.hotwords import Hotword, Hotwords
from dualtk.search.hypothesis import Limits
from dualtk.search.whole import search_frames

V = 4
LIMITS = Limits(3, 3)
TEXTS = [list(one) for size in range(4) for one in itertools.product((1, 2, 3), repeat=size)]


def network_of(seed: int) -> NeuralModel:
    torch.manual_seed(seed)
    network = LSTMLanguageModelOptions(name="lstm", embedding_dim=4, dim=5, num_layers=1).build(V).eval()
    with torch.no_grad():
        network.output.weight.mul_(6.0)
    return NeuralModel(network)


@pytest.fixture(scope="module")
def parts():
    return search_parts("lstm", seed=3, scale=1.0, vocabulary=V)


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return random_frames(1, 5, seed=3)[0]


def found(parts, frames: Tensor, fusion: Fusion | None, beam: int = 200) -> dict[tuple[int, ...], float]:
    """Score of every hypothesis."""
    search = BeamSearch(*parts, beam, LIMITS, fusion)
    return {tuple(one.tokens): one.score for one in search_frames(search, frames, torch.tensor([5]))[0]}


def sentence_log_prob(model: NeuralModel, text: list[int]) -> float:
    """Of a text and its end, from the network's losses."""
    labels = torch.tensor([text], dtype=torch.int64).view(1, -1)
    with torch.no_grad():
        return -float(model.network.losses(labels, torch.tensor([len(text)])))


@torch.no_grad()
def internal_log_prob(parts, text: list[int]) -> float:
    """sum_u log P(y_u | labels), no blank, no audio, step by step in float64 (Meng et al. 2021)."""
    predictor, joiner = parts
    outputs = predictor(torch.tensor([text], dtype=torch.int64).view(1, -1))[0].double()
    weight, bias = joiner.predictor.weight.double(), joiner.predictor.bias.double()
    total = 0.0
    for token, output in zip(text, outputs):
        inside = torch.tanh(weight @ output + bias + joiner.encoder.bias.double())
        logits = joiner.output.weight.double() @ inside + joiner.output.bias.double()
        total += float(logits[token] - logits[1:].logsumexp(0))
    return total


@pytest.mark.parametrize(
    ("weight", "source", "internal", "reward"),
    [(0.5, 0.0, 0.0, 0.0), (0.6, 0.4, 0.0, 0.0), (0.0, 0.0, 0.3, 0.0), (0.5, 0.0, 0.2, 0.7), (0.4, 0.3, 0.2, -0.5)],
    ids=["shallow", "density ratio", "internal", "internal, reward", "all"],
)
def test_every_hypothesis_is_given_what_the_equations_say(parts, frames, weight, source, internal, reward) -> None:
    target, other = network_of(1), network_of(2)
    models = [WeightedModel(target, weight), WeightedModel(other, -source)]
    plain = found(parts, frames, None)
    fused = found(parts, frames, Fusion(models, internal, reward))
    assert sorted(plain) == sorted(fused) == sorted(map(tuple, TEXTS))
    for text in TEXTS:
        expected = plain[tuple(text)] + reward * len(text)
        expected += weight * sentence_log_prob(target, text) - source * sentence_log_prob(other, text)
        expected -= internal * internal_log_prob(parts, text)
        assert fused[tuple(text)] == pytest.approx(expected, abs=2e-4)
    assert sorted(plain, key=plain.__getitem__) != sorted(fused, key=fused.__getitem__)


def test_a_model_that_is_subtracted_from_itself_says_nothing(parts, frames) -> None:
    model = network_of(1)
    both = Fusion([WeightedModel(model, 0.5), WeightedModel(model, -0.5)])
    plain, fused = found(parts, frames, None), found(parts, frames, both)
    assert fused == pytest.approx(plain, abs=1e-5)


def test_nothing_is_added_by_nothing() -> None:
    assert Fusion([]).is_empty
    assert not Fusion([], 0.1).is_empty
    assert not Fusion([], 0.0, -1.0).is_empty


@pytest.mark.parametrize("beam", [2, 4])
def test_streams_together_equal_each_alone(beam: int) -> None:
    """Pieces of any size, several streams in one call, and a stream that is saved and restored."""
    parts = search_parts()
    torch.manual_seed(2)
    network = LSTMLanguageModelOptions(name="lstm", embedding_dim=4, dim=5, num_layers=2).build(7).eval()
    fusion = Fusion(
        [WeightedModel(NeuralModel(network), 0.8), WeightedModel(Hotwords([Hotword((3, 4), 2.0)], 7), 1.0)], 0.2
    )
    search = BeamSearch(*parts, beam, fusion=fusion)
    frames, lengths = random_frames(4, 23)
    alone = [search_frames(search, frames[i : i + 1], lengths[i : i + 1])[0] for i in range(4)]
    streams = search.start(4)
    for start in range(0, 23, 5):
        search.advance(frames[:, start : start + 5], (lengths - start).clamp(0, 5), streams)
        streams = [search.restore(search.save(stream)) for stream in streams]
    for stream, expected in zip(streams, alone, strict=True):
        together = search.nbest(stream, final=True)
        assert [one.tokens for one in together] == [one.tokens for one in expected]
        assert [one.score for one in together] == pytest.approx([one.score for one in expected], abs=1e-3)
