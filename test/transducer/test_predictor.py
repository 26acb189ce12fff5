"""Predictors: a step at a time equals the whole sequence, and the past alone decides."""

from __future__ import annotations

import pytest
import torch

from dualtk.transducer.predictor import LSTMPredictorOptions, Predictor, StatelessPredictorOptions

PREDICTORS = {
    "stateless": StatelessPredictorOptions(name="stateless", dim=8, context_size=2),
    "stateless-3": StatelessPredictorOptions(name="stateless", dim=8, context_size=3),
    "lstm": LSTMPredictorOptions(name="lstm", embedding_dim=6, dim=8, num_layers=2),
    "lstm-projected": LSTMPredictorOptions(name="lstm", embedding_dim=6, dim=8, projection_dim=5),
}


@pytest.fixture(params=PREDICTORS)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    torch.manual_seed(0)
    return PREDICTORS[request.param].build(20).eval()


def test_steps_equal_the_whole(predictor: Predictor) -> None:
    targets = torch.randint(1, 20, (3, 7))
    whole = predictor(targets)
    assert whole.shape == (3, 8, predictor.output_dim)
    state = predictor.init_state(3)
    assert all(bool((value == 0).all()) and value.size(0) == 3 for value in state.values())
    tokens = torch.full((3,), -1)
    for u in range(8):
        output, state = predictor.step(tokens, state)
        torch.testing.assert_close(output, whole[:, u], atol=1e-6, rtol=1e-5)
        tokens = targets[:, min(u, 6)]


def test_labels_to_come_do_not_matter(predictor: Predictor) -> None:
    targets = torch.randint(1, 20, (1, 6))
    changed = targets.clone()
    changed[0, 4:] = 3
    torch.testing.assert_close(predictor(targets)[:, :5], predictor(changed)[:, :5])
    assert not torch.allclose(predictor(targets)[:, 5:], predictor(changed)[:, 5:])


def test_no_labels(predictor: Predictor) -> None:
    assert predictor(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 1, predictor.output_dim)
