"""Streams that are decoded together against whole utterances, on every encoder and in every mode."""

from __future__ import annotations

import pytest
import torch
from small_networks import ENCODERS, MELS, RATE, small_transducer, speech
from torch.nn.utils.rnn import pad_sequence

from dualtk.data.fbank import fbank
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.decoder import open_decoder
from dualtk.streaming.session import StreamingDecoder

MODES = [
    streaming(left_context=6),
    streaming(left_context=4, chunk=4, look_ahead_ms=60),
    streaming(chunk=3),
    streaming(left_context=0, chunk=2, look_ahead_ms=30),
]
SIZES = (12000, 500, 9345, 16001, 9345, 31000)  # samples


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    feats = [fbank(speech(size, seed), RATE, MELS) for seed, size in enumerate(SIZES)]
    return pad_sequence(feats, batch_first=True), torch.tensor([len(one) for one in feats])


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_streams_of_a_batch_equal_whole_utterances(encoder: str, mode: Mode, beam: int) -> None:
    network = small_transducer(encoder)
    search = SearchOptions(beam=beam).build(network, [])
    streams = open_decoder(network, mode, search)
    assert isinstance(streams, StreamingDecoder)
    assert streams.together
    feats, lengths = batch()
    expected = WholeDecoder(network, mode, search).decode(feats, lengths)
    for found, wanted in zip(streams.decode(feats, lengths), expected, strict=True):
        assert (found[0].tokens, found[0].frames) == (wanted[0].tokens, wanted[0].frames)
        assert found[0].score == pytest.approx(wanted[0].score, abs=1e-2)
    assert sum(len(one[0].tokens) for one in expected) > 4, "a network that says nothing proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_eight_bits_of_a_stream_do_not_depend_on_the_others(encoder: str) -> None:
    network = small_transducer(encoder)
    streams = open_decoder(network, MODES[1], SearchOptions().build(network, []), "int8")
    feats, lengths = batch()
    for row, found in enumerate(streams.decode(feats, lengths)):
        assert streams.decode(feats[row : row + 1], lengths[row : row + 1]) == [found]


@pytest.mark.slow
def test_full_context_is_decoded_whole() -> None:
    network = small_transducer()
    search = SearchOptions().build(network, [])
    decoder = open_decoder(network, FULL_CONTEXT, search)
    assert isinstance(decoder, WholeDecoder)
    feats, lengths = batch()
    assert [one.tokens for (one,) in decoder.decode(feats, lengths)] != [
        one.tokens for (one,) in open_decoder(network, MODES[0], search).decode(feats, lengths)
    ]
    assert decoder.decode(feats[:2, :0], torch.zeros(2, dtype=torch.int64))[1][0].tokens == []
    with pytest.raises(InputError, match="sees the whole utterance"):
        open_decoder(network, FULL_CONTEXT, search, "int8")
    with pytest.raises(InputError, match="unbounded left context"):
        open_decoder(network, streaming(chunk=2), search, "int8")
    with pytest.raises(InputError, match="--engine: is for streaming"):
        open_decoder(network, FULL_CONTEXT, search, engine="onnxruntime")
    with pytest.raises(InputError, match="--engine onnxruntime: mode streaming has an unbounded left context"):
        open_decoder(network, streaming(chunk=2), search, engine="onnxruntime")
