"""Streams against whole-utterance decoding in the streaming mode, from samples to tokens."""

from __future__ import annotations

import io
import math

import pytest
import torch
from small_networks import ENCODERS, MELS, RATE, small_transducer, speech
from torch import Tensor

from dualtk.data.fbank import fbank
from dualtk.data.stream import FbankStream
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.search.greedy import GreedySearch
from dualtk.search.hypothesis import Hypothesis, Limits
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.session import Session, StreamingDecoder

MODES = [
    streaming(left_context=6),
    streaming(left_context=4, chunk=4, look_ahead_ms=60),
    streaming(chunk=3),
    streaming(left_context=0, chunk=2, look_ahead_ms=30),
]


def whole(network, mode: Mode, samples: Tensor) -> Hypothesis:
    """Whole-utterance decoding."""
    feats = fbank(samples, RATE, MELS).unsqueeze(0)
    search = GreedySearch(network.predictor, network.joiner)
    return WholeDecoder(network, mode, search).decode(feats, torch.tensor([feats.shape[1]]))[0][0]


def decoder(network, mode: Mode) -> StreamingDecoder:
    return StreamingDecoder(network, mode, GreedySearch(network.predictor, network.joiner))


def decode(decoder: StreamingDecoder, samples: Tensor, size: int) -> Session:
    session = decoder.open(FbankStream(MELS))
    for piece in samples.split(size):
        session.accept(piece, RATE)
    session.finish()
    return session


def assert_same(found: Hypothesis, expected: Hypothesis) -> None:
    assert (found.tokens, found.frames) == (expected.tokens, expected.frames)
    assert found.score == pytest.approx(expected.score, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_stream_equals_the_whole_utterance(encoder: str, mode: Mode) -> None:
    network = small_transducer(encoder)
    shared = decoder(network, mode)
    for num_samples in (400, 2001, 9345):
        samples = speech(num_samples, num_samples)
        expected = whole(network, mode, samples)
        for size in (331, num_samples):
            assert_same(decode(shared, samples, size).best, expected)
    assert len(set(expected.tokens)) > 1, "a network that says nothing proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_sample_at_a_time(encoder: str) -> None:
    network = small_transducer(encoder)
    samples = speech(2500)
    assert_same(decode(decoder(network, MODES[1]), samples, 1).best, whole(network, MODES[1], samples))


def test_a_look_ahead_longer_than_the_audio() -> None:
    network, mode = small_transducer(), streaming(left_context=4, look_ahead_ms=5000)
    samples = speech(4000)
    assert_same(decode(decoder(network, mode), samples, 700).best, whole(network, mode, samples))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_streams_at_different_positions_share_steps(encoder: str, mode: Mode) -> None:
    network = small_transducer(encoder)
    shared = decoder(network, mode)
    sizes = [12000, 9000, 300, 7000, 9000]
    samples = [speech(size, seed) for seed, size in enumerate(sizes)]
    sessions: list[Session] = []
    pieces = [list(one.split(700 + 130 * index)) for index, one in enumerate(samples)]
    for tick in range(60):
        if tick < 5:  # streams start one after the other
            sessions.append(shared.open(FbankStream(MELS)))
        for session, queue in zip(sessions, pieces):
            if queue:
                session.push(queue.pop(0), RATE)
            else:
                session.close()
        shared.advance(sessions)
    for session, one in zip(sessions, samples, strict=True):
        assert session.closed
        assert session.memory is None or session.num_frames == 0
        assert_same(session.best, decode(shared, one, 1000).best)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_stream_moves_to_another_process(encoder: str) -> None:
    network = small_transducer(encoder)
    shared = decoder(network, MODES[1])
    samples = speech(9000)
    session, neighbour = shared.open(FbankStream(MELS)), shared.open(FbankStream(MELS))
    for heard in (0, 1111, 5000, 8999, 9000):
        session.push(samples[session_heard(session) : heard], RATE)
        neighbour.push(speech(1500, heard), RATE)
        shared.advance([neighbour, session])
        file = io.BytesIO()
        torch.save(session.save(), file)
        assert len(file.getvalue()) < 100_000, "the neighbour's state came along"
        file.seek(0)
        session = decoder(small_transducer(encoder), MODES[1]).open(FbankStream(MELS))
        session.restore(torch.load(file, weights_only=True))
        shared = session.decoder
        neighbour = shared.open(FbankStream(MELS))
    assert_same(session.finish(), whole(network, MODES[1], samples))
    again = decoder(network, MODES[1]).open(FbankStream(MELS))
    again.restore(session.save())
    assert_same(again.finish(), session.best)


def session_heard(session: Session) -> int:
    return session.front_end.save()["num_samples"]


@pytest.mark.slow
def test_memory_of_a_long_stream_is_bounded() -> None:
    network = small_transducer()
    shared = decoder(network, streaming(left_context=8, chunk=4))
    session = shared.open(FbankStream(MELS))
    sizes = set()
    for _ in range(4):
        session.accept(torch.zeros(4 * RATE), RATE)
        saved = session.save()
        saved["search"].pop("hypothesis")  # what was found is the only thing that may grow
        sizes.add(sum(tensor.untyped_storage().nbytes() for tensor in tensors(saved)))
    assert max(sizes) < 60_000
    assert max(sizes) - min(sizes) < 20_000


def tensors(tree: object) -> list[Tensor]:
    if isinstance(tree, dict):
        return [tensor for value in tree.values() for tensor in tensors(value)]
    return [tree] if isinstance(tree, Tensor) else []


@pytest.mark.slow
def test_silence_of_ten_minutes_passes() -> None:
    network = small_transducer()
    with torch.no_grad():
        network.joiner.output.bias[0] += 100.0
    session = decoder(network, streaming(left_context=8, chunk=100)).open(FbankStream(MELS))
    for _ in range(10):
        found = session.accept(torch.zeros(60 * RATE), RATE)
    assert 14800 < session.num_frames <= 15000
    assert math.isfinite(found.score)
    session.finish()
    assert session.num_frames == 15000


@pytest.mark.parametrize("num_samples", [0, 1, 399])
@pytest.mark.parametrize("mode", MODES[:2], ids=str)
def test_too_little_audio_is_an_empty_result(num_samples: int, mode: Mode) -> None:
    session = decode(decoder(small_transducer(), mode), speech(num_samples), 100)
    assert session.best == Hypothesis()
    assert session.times() == []


def test_bad_audio_is_refused_and_the_stream_goes_on() -> None:
    network = small_transducer()
    samples = speech(8000)
    session = decoder(network, MODES[0]).open(FbankStream(MELS))
    session.accept(samples[:3000], RATE)
    with pytest.raises(InputError, match="not numbers"):
        session.accept(torch.full((100,), math.nan), RATE)
    with pytest.raises(InputError, match="sample rate changed"):
        session.accept(samples, 8000)
    session.accept(samples[3000:], RATE)
    assert_same(session.finish(), whole(network, MODES[0], samples))
    assert session.finish() is session.best
    with pytest.raises(RuntimeError, match="closed"):
        session.push(samples, RATE)


def test_a_network_that_never_emits_blank_does_not_hold_the_stream() -> None:
    network = small_transducer()
    with torch.no_grad():
        network.joiner.output.bias[0] -= 1e4
    limits = Limits(2, 50)
    shared = StreamingDecoder(network, MODES[0], GreedySearch(network.predictor, network.joiner, limits))
    session = decode(shared, speech(16000), 1600)
    assert len(session.best.tokens) == 50
    assert session.num_frames == 25
    assert session.times()[:4] == [0.0, 0.0, 0.04, 0.04]


def test_full_context_cannot_be_streamed() -> None:
    with pytest.raises(InputError, match="cannot be streamed"):
        decoder(small_transducer(), FULL_CONTEXT)
