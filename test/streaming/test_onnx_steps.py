"""Steps by onnxruntime against the encoder's own in PyTorch."""

from __future__ import annotations

import sys
from functools import cache

import pytest
import torch
from small_networks import ENCODERS, MELS, RATE, small_transducer, speech
from torch import Tensor

from dualtk.data.stream import FbankStream
from dualtk.errors import InputError
from dualtk.modes import Mode, streaming
from dualtk.nn.masked import MaskedLinear
from dualtk.search.options import SearchOptions
from dualtk.streaming.compiled_step import Precision
from dualtk.streaming.onnx_steps import OnnxSteps
from dualtk.streaming.session import StreamingDecoder
from dualtk.transducer.model import Transducer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

PRECISIONS: list[Precision] = ["float32", "int8"]
MODES = [streaming(left_context=5, chunk=2), streaming(left_context=0, chunk=3), streaming(left_context=2, chunk=4)]


@cache
def made(encoder: str, mode: Mode, precision: Precision) -> tuple[Transducer, OnnxSteps]:
    network = small_transducer(encoder)
    return network, OnnxSteps(network.encoder, mode, precision)


def chunks_of(network: Transducer, mode: Mode, streams: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = mode.chunk * network.encoder.subsampling
    return torch.randn(streams, size, network.encoder.input_dim, generator=generator)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.left_context}-{mode.chunk}")
@pytest.mark.parametrize("encoder", ENCODERS)
def test_frames_and_states_are_those_of_the_encoder(encoder: str, mode: Mode, precision: Precision) -> None:
    network, steps = made(encoder, mode, precision)
    state, streams = network.encoder.init_state(3, mode), [steps.start() for _ in range(3)]
    for number in range(8):
        chunks = chunks_of(network, mode, 3, number)
        with torch.inference_mode():
            wanted, state = network.encoder.step(chunks, state, mode)
        parts = [chunks] if number % 2 else [chunks[:1], chunks[1:]]  # together, or in two groups
        places = [streams] if number % 2 else [streams[:1], streams[1:]]
        frames = torch.cat([steps.advance(part, place) for part, place in zip(parts, places)])
        near = 1e-5 if precision == "float32" else 0.1 * float(wanted.std())
        torch.testing.assert_close(frames, wanted, atol=near, rtol=0)
    for row, stream in enumerate(streams):
        saved = steps.save(stream)
        assert saved.keys() == state.keys()
        for name, value in state.items() if precision == "float32" else ():
            torch.testing.assert_close(saved[name], value[row : row + 1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["rotary", "none"])
def test_other_positions(positions: str) -> None:
    network, mode = small_transducer(positions=positions), MODES[0]
    steps = OnnxSteps(network.encoder, mode, "float32")
    state, stream = network.encoder.init_state(1, mode), steps.start()
    for number in range(6):
        chunk = chunks_of(network, mode, 1, number)
        with torch.inference_mode():
            wanted, state = network.encoder.step(chunk, state, mode)
        torch.testing.assert_close(steps.advance(chunk, [stream]), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("other", [0.0, 1e-20, 1e4])
def test_no_stream_depends_on_another(precision: Precision, other: float) -> None:
    """Frame by frame and bit by bit, whatever the others are and however many there are."""
    network, steps = made("conformer", MODES[0], precision)
    alone, beside, neighbours = steps.start(), steps.start(), [steps.start() for _ in range(4)]
    for number in range(5):
        chunk = chunks_of(network, MODES[0], 1, number)
        count = number % 4 + 1
        crowd = torch.cat([other * chunks_of(network, MODES[0], count, 50 + number), chunk])
        together = steps.advance(crowd, [*neighbours[:count], beside])
        torch.testing.assert_close(together[-1:], steps.advance(chunk, [alone]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_streams_that_come_and_go_say_what_each_says_alone(precision: Precision) -> None:
    network, steps = made("conformer", MODES[0], precision)
    decoder = StreamingDecoder(network, MODES[0], SearchOptions().build(network, []), steps)
    sounds = [speech(size, seed) for seed, size in enumerate((12000, 9345, 20000, 500, 16001))]
    alone = []
    for sound in sounds:
        session = decoder.open(FbankStream(MELS))
        session.push(sound, RATE)
        alone.append(session.finish().tokens)
    assert sum(map(len, alone)) > 5
    sessions, left = [], [list(sound.split(1600)) for sound in sounds]
    for tick in range(40):
        if tick % 2 == 0 and len(sessions) < len(sounds):
            sessions.append(decoder.open(FbankStream(MELS)))
        for session, pieces in zip(sessions, left):
            session.push(pieces.pop(0), RATE) if pieces else session.close()
        decoder.advance(sessions)
    assert [session.best.tokens for session in sessions] == alone
    assert all(session.memory is None or session.num_frames == 0 for session in sessions)


def finished(decoder: StreamingDecoder, saved: dict[str, object], rest: Tensor) -> list[int]:
    session = decoder.open(FbankStream(MELS))
    session.restore(saved)
    session.push(rest, RATE)
    return session.finish().tokens


def test_a_stream_that_was_saved_goes_on_with_either_engine() -> None:
    network, steps = made("conformer", MODES[0], "float32")
    search = SearchOptions().build(network, [])
    decoders = [StreamingDecoder(network, MODES[0], search, one) for one in (steps, None)]
    sound = speech(24000, 4)
    whole = decoders[1].open(FbankStream(MELS))
    whole.push(sound, RATE)
    wanted = whole.finish().tokens
    assert len(wanted) > 3
    for first in decoders:
        session = first.open(FbankStream(MELS))
        session.push(sound[:9000], RATE)
        first.advance([session])
        for second in decoders:
            assert finished(second, session.save(), sound[9000:]) == wanted


def test_sparse_weights_stay_sparse() -> None:
    network, mode = small_transducer(), streaming(left_context=5, chunk=2, sparsity=0.5)
    for layer in network.modules():
        if isinstance(layer, MaskedLinear):
            layer.set_mask("streaming", torch.rand_like(layer.weight) > 0.5)
    chunk = chunks_of(network, mode, 1, 0)
    with torch.inference_mode():
        wanted = network.encoder.step(chunk, network.encoder.init_state(1, mode), mode)[0]
    steps = OnnxSteps(network.encoder, mode, "float32")
    torch.testing.assert_close(steps.advance(chunk, [steps.start()]), wanted, atol=1e-5, rtol=0)


def test_unbounded_left_context_is_refused() -> None:
    with pytest.raises(InputError, match="bounded left_context"):
        OnnxSteps(small_transducer().encoder, streaming(), "float32")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed: pip install 'dualtk\[export\]'"):
        OnnxSteps(small_transducer().encoder, MODES[0], "float32")
