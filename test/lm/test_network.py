"""Neural language models: one label at a time equals the whole sentence, and what follows is not seen."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dualtk.lm import LSTMLanguageModelOptions, TransformerLanguageModelOptions
from dualtk.lm.hypotheses import NeuralModel
from dualtk.lm.network import START, NeuralLanguageModel

V = 9
OPTIONS = {
    "lstm": LSTMLanguageModelOptions(name="lstm", embedding_dim=6, dim=8, num_layers=2),
    "transformer": TransformerLanguageModelOptions(
        name="transformer", dim=16, num_layers=2, num_heads=2, feedforward_dim=24, left_context=3
    ),
}


def built(name: str, seed: int = 0) -> NeuralLanguageModel:
    """A model whose probabilities are far from even."""
    torch.manual_seed(seed)
    network = OPTIONS[name].build(V).eval()
    with torch.no_grad():
        network.output.weight.mul_(6.0)
    return network


@pytest.mark.parametrize("name", OPTIONS)
def test_label_by_label_equals_the_whole(name: str) -> None:
    """The Transformer's labels are more than its left context, over two blocks."""
    network, labels = built(name), torch.randint(1, V, (3, 11))
    with torch.no_grad():
        expected = network(labels)
        state, steps = network.init_state(3), [torch.full((3,), START), *labels.unbind(1)]
        for place, tokens in enumerate(steps):
            log_probs, state = network.step(tokens, state)
            assert torch.allclose(log_probs, expected[:, place], atol=1e-5)
            assert torch.allclose(log_probs.exp().sum(1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_no_label_is_seen_before_its_time(name: str) -> None:
    network, labels = built(name), torch.randint(1, V, (1, 8))
    for place in range(8):
        changed = labels.clone()
        changed[:, place:] = labels[:, place:] % (V - 1) + 1
        assert torch.equal(network(changed)[:, : place + 1], network(labels)[:, : place + 1])
        assert not torch.allclose(network(changed)[:, place + 1], network(labels)[:, place + 1])


def test_a_transformer_forgets_what_is_beyond_its_left_context() -> None:
    """Two blocks of three labels each reach six back."""
    network, labels = built("transformer"), torch.randint(1, V, (1, 12))
    changed = labels.clone()
    changed[:, 0] = labels[:, 0] % (V - 1) + 1
    same = (network(changed) - network(labels)).abs().amax((0, 2)) == 0
    assert same.tolist() == [True] + 7 * [False] + 5 * [True]


@pytest.mark.parametrize("name", OPTIONS)
def test_losses_are_those_of_each_sentence_and_its_end(name: str) -> None:
    network, lengths = built(name), [0, 5, 2]
    labels = torch.zeros(3, 5, dtype=torch.int64)
    sentences = [torch.randint(1, V, (length,)) for length in lengths]
    for row, sentence in zip(labels, sentences):
        row[: len(sentence)] = sentence
    with torch.no_grad():
        found = network.losses(labels, torch.tensor(lengths))
        for loss, sentence in zip(found, sentences):
            following = torch.cat([sentence, torch.zeros(1, dtype=torch.int64)])
            expected = functional.cross_entropy(network(sentence.unsqueeze(0))[0], following, reduction="sum")
            assert float(loss) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_hypotheses_of_any_lengths_are_asked_together(name: str) -> None:
    """A search forks, drops and mixes hypotheses; each has the probabilities of its own labels."""
    network = built(name)
    model = NeuralModel(network)
    places, texts = [model.start()], [[]]
    generator = torch.Generator().manual_seed(1)
    for _ in range(9):
        chosen = torch.randint(len(texts), (4,), generator=generator).tolist()
        tokens = torch.randint(1, V, (4,), generator=generator).tolist()
        after = model.advance([places[index] for index in chosen], tokens)
        texts += [[*texts[index], token] for index, token in zip(chosen, tokens)]
        places += after
    with torch.no_grad():
        for text, scores, ending in zip(texts, model.scores(places), model.final(places)):
            expected = network(torch.tensor([text], dtype=torch.int64).view(1, -1))[0, -1]
            assert torch.allclose(scores, expected, atol=1e-5)
            assert ending == pytest.approx(float(expected[0]), abs=1e-5)
    assert max(map(len, texts)) > 3
