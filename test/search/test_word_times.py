"""Times of words: by the CTC head where there is one, and emission frames otherwise."""

from __future__ import annotations

import torch
from small_networks import INPUT_DIM, VOCABULARY, small_transducer
from torch import nn

from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.search.ctc_alignment import align, aligned_words
from dualtk.search.hypothesis import Hypothesis, spoken_words
from dualtk.search.word_times import timed_words
from dualtk.transducer.ctc import CTCHead

PIECES = ["<blk>", "<unk>", "▁A", "B", "▁C", "▁D", "E"]
FOUND = Hypothesis([2, 3, 4, 6], [3, 4, 9, 11], [-0.1, -0.2, -0.3, -0.4], -2.0)


def feats() -> torch.Tensor:
    return torch.randn(100, INPUT_DIM, generator=torch.Generator().manual_seed(0))


def test_without_a_ctc_head_words_are_where_they_were_emitted() -> None:
    network = small_transducer()
    found = timed_words(network, FULL_CONTEXT, feats(), FOUND, PIECES)
    assert found == spoken_words(FOUND, PIECES, network.encoder.subsampling / 100)


def test_with_a_ctc_head_they_are_aligned_in_the_mode_that_found_them() -> None:
    network = small_transducer()
    torch.manual_seed(5)
    network.ctc = CTCHead(network.encoder.output_dim, VOCABULARY)
    nn.init.normal_(network.ctc.output.weight)
    spans_of = []
    for mode in (FULL_CONTEXT, streaming(left_context=4)):
        found = timed_words(network, mode, feats(), FOUND, PIECES)
        lengths = torch.tensor([100])
        encoded = network.encode(network.normalize(feats().unsqueeze(0), lengths), lengths, mode)
        spans = align(network.ctc(encoded.frames)[0], FOUND.tokens)
        expected = aligned_words(spans, PIECES, network.encoder.subsampling / 100)
        assert [(one.text, one.start, one.end) for one in found] == [(x.text, x.start, x.end) for x in expected]
        emitted = spoken_words(FOUND, PIECES, 0.04)
        assert [one.confidence for one in found] == [one.confidence for one in emitted]
        spans_of.append([(one.start, one.end) for one in spans])
    assert spans_of[0] != spans_of[1]


def test_labels_that_do_not_fit_keep_their_emission() -> None:
    network = small_transducer()
    network.ctc = CTCHead(network.encoder.output_dim, VOCABULARY)
    many = Hypothesis([2] * 60, [3] * 60, [-0.1] * 60)
    assert timed_words(network, FULL_CONTEXT, feats(), many, PIECES) == spoken_words(many, PIECES, 0.04)
    assert timed_words(network, FULL_CONTEXT, feats(), Hypothesis(), PIECES) == []
