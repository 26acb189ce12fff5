"""The compiled step against the encoder's own."""

from __future__ import annotations

import pytest
import torch
from small_networks import ENCODERS, MELS, RATE, small_transducer, speech

from dualtk.data.stream import FbankStream
from dualtk.errors import InputError
from dualtk.modes import streaming
from dualtk.nn.masked import MaskedLinear
from dualtk.search.greedy import GreedySearch
from dualtk.streaming.compiled_step import compile_step
from dualtk.streaming.session import StreamingDecoder


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_computes_what_the_encoder_computes(encoder: str, precision: str) -> None:
    network = small_transducer(encoder)
    mode = streaming(left_context=5, chunk=2)
    fast = compile_step(network.encoder, mode, precision)
    for batch in (1, 3):
        state = fast_state = network.encoder.init_state(batch, mode)
        for _ in range(6):
            chunk = torch.randn(batch, mode.chunk * network.encoder.subsampling, network.encoder.input_dim)
            with torch.inference_mode():
                frames, state = network.encoder.step(chunk, state, mode)
                fast_frames, fast_state = fast(chunk, fast_state)
            tolerance = 1e-5 if precision == "float32" else 0.2 * float(frames.std())
            torch.testing.assert_close(fast_frames, frames, atol=tolerance, rtol=0)
            assert fast_state.keys() == state.keys()
            if precision == "float32":
                for name, value in state.items():
                    torch.testing.assert_close(fast_state[name], value, atol=1e-5, rtol=0)


def test_a_decoder_takes_it() -> None:
    network = small_transducer()
    mode = streaming(left_context=5, chunk=2)
    search = GreedySearch(network.predictor, network.joiner)
    samples = speech(6000)
    found = []
    for step in (None, compile_step(network.encoder, mode)):
        session = StreamingDecoder(network, mode, search, step).open(FbankStream(MELS))
        session.accept(samples, RATE)
        found.append(session.finish().tokens)
    assert found[0] == found[1]
    assert found[0]


def test_sparse_weights_stay_sparse() -> None:
    network = small_transducer()
    for layer in network.modules():
        if isinstance(layer, MaskedLinear):
            layer.set_mask("streaming", torch.rand_like(layer.weight) > 0.5)
    mode = streaming(left_context=5, chunk=2, sparsity=0.5)
    chunk = torch.randn(1, 8, network.encoder.input_dim)
    state = network.encoder.init_state(1, mode)
    with torch.inference_mode():
        expected = network.encoder.step(chunk, state, mode)[0]
        for precision, tolerance in (("float32", 1e-5), ("int8", 0.2 * float(expected.std()))):
            frames = compile_step(network.encoder, mode, precision)(chunk, state)[0]
            torch.testing.assert_close(frames, expected, atol=tolerance, rtol=0)


def test_unbounded_left_context_is_refused() -> None:
    with pytest.raises(InputError, match="bounded left_context"):
        compile_step(small_transducer().encoder, streaming())
