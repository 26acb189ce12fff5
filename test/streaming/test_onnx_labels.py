"""The label side by onnxruntime against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from small_networks import MELS, RATE, VOCABULARY, small_transducer, speech

from dualtk.data.stream import FbankStream
from dualtk.modes import streaming
from dualtk.search.options import SearchOptions
from dualtk.streaming.compiled_step import Precision
from dualtk.streaming.decoder import open_decoder
from dualtk.streaming.onnx_labels import OnnxJoiner, OnnxPredictor, onnx_labels
from dualtk.streaming.session import StreamingDecoder
from dualtk.transducer.joiner import AdditiveJoiner, TanhJoiner
from dualtk.transducer.predictor import LSTMPredictor, StatelessPredictor

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

PRECISIONS: list[Precision] = ["float32", "int8"]


def predictor_of(num_layers: int, projection_dim: int | None) -> LSTMPredictor:
    torch.manual_seed(num_layers)
    sizes = {"embedding_dim": 24, "dim": 40, "num_layers": num_layers, "projection_dim": projection_dim}
    return LSTMPredictor(VOCABULARY, **sizes, dropout=0.1).eval()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("num_layers", "projection_dim"), [(1, None), (2, 16)])
def test_a_predictor_says_what_torch_says(precision: Precision, num_layers: int, projection_dim: int | None) -> None:
    own = predictor_of(num_layers, projection_dim)
    other = OnnxPredictor(own, precision)
    state, other_state = own.init_state(3), other.init_state(3)
    draw = torch.Generator().manual_seed(1)
    for number in range(12):
        tokens = torch.randint(-1 if number == 0 else 0, VOCABULARY, (3,), generator=draw)
        with torch.inference_mode():
            wanted, state = own.step(tokens, state)
            output, other_state = other.step(tokens, other_state)
        near = 1e-5 if precision == "float32" else 0.2 * float(wanted.std())
        torch.testing.assert_close(output, wanted, atol=near, rtol=0)
        for name, value in state.items():
            torch.testing.assert_close(other_state[name], value, atol=2 * near, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_joiner_says_what_torch_says(precision: Precision) -> None:
    torch.manual_seed(0)
    own = TanhJoiner(20, 30, 24, 50).eval()
    other = OnnxJoiner(own, precision)
    encoder, predictor = torch.randn(4, 5, 20), torch.randn(4, 1, 30)
    with torch.inference_mode():
        wanted = own(own.encoder(encoder), own.predictor(predictor))
        logits = other(other.encoder(encoder), other.predictor(predictor))
    assert logits.shape == (4, 5, 50)
    near = 1e-5 if precision == "float32" else 0.05 * float(wanted.std())
    torch.testing.assert_close(logits, wanted, atol=near, rtol=0)


@pytest.mark.parametrize("loud", [0.0, 1e-20, 1e4])
def test_no_row_depends_on_another(loud: float) -> None:
    """In 8 bits, bit by bit."""
    predictor, joiner = (
        OnnxPredictor(predictor_of(1, None), "int8"),
        OnnxJoiner(TanhJoiner(8, 8, 24, 50).eval(), "int8"),
    )
    state = {name: torch.randn(1, 1, 40) for name in ("hidden", "cell")}
    crowd = {name: torch.cat([value, *[loud * torch.randn(1, 1, 40)] * 3]) for name, value in state.items()}
    with torch.inference_mode():
        alone, among = predictor.step(torch.tensor([5]), state)[0], predictor.step(torch.tensor([5, 1, 2, 3]), crowd)[0]
        assert torch.equal(alone[0], among[0])
        row, others = torch.randn(1, 24), loud * torch.randn(6, 24)
        zeros = torch.zeros(1, 24)
        assert torch.equal(joiner(row, zeros)[0], joiner(torch.cat([row, others]), zeros)[0])


@pytest.mark.parametrize("options", [SearchOptions(), SearchOptions(beam=3)])
def test_streams_say_the_same(options: SearchOptions) -> None:
    network, mode = small_transducer(), streaming(left_context=8, chunk=4)
    search = options.build(network, [str(token) for token in range(VOCABULARY)])
    texts = []
    for engine in ("torch", "onnxruntime"):
        decoder = open_decoder(network, mode, search, "float32", engine)
        assert isinstance(decoder, StreamingDecoder)
        assert isinstance(decoder.with_search(search).search.joiner, OnnxJoiner if engine != "torch" else TanhJoiner)
        sessions = [decoder.open(FbankStream(MELS)) for _ in range(3)]
        for seed, session in enumerate(sessions):
            session.push(speech(2 * RATE, seed), RATE)
            session.close()
        decoder.advance(sessions)
        texts.append([session.best.tokens for session in sessions])
        assert any(texts[-1])
    assert texts[0] == texts[1]


def test_what_has_no_large_products_stays() -> None:
    stateless = StatelessPredictor(VOCABULARY, dim=8, context_size=2, dropout=0.0)
    additive = AdditiveJoiner(8, 8, VOCABULARY, "identity", None)
    assert onnx_labels(stateless, additive, "int8") == (stateless, additive)
