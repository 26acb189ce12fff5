"""When words were said: by alignment with the CTC head where the network has one, else when their tokens were emitted.

A transducer may emit a token any time after it has enough of it, so emission is a poor measure of when a word was said.

Shapes: T feature frames, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dualtk.errors import InputError
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.search.ctc_alignment import align, aligned_words
from dualtk.search.hypothesis import Hypothesis, SpokenWord, spoken_words
from dualtk.transducer.model import Transducer


@torch.inference_mode()
def timed_words(
    network: Transducer, mode: Mode, feats: Tensor, hypothesis: Hypothesis, pieces: Sequence[str]
) -> list[SpokenWord]:
    """The words of a hypothesis of raw feats (T, F), decoded in `mode`; their confidence is that of the search.

    Args:
        network: that decoded them.
        mode: in which.
        feats: of the utterance.
        hypothesis: its frames are encoder frames.
        pieces: the vocabulary, in which "▁" starts a word.
    """
    frame_seconds = network.encoder.subsampling * FRAME_SECONDS
    emitted = spoken_words(hypothesis, pieces, frame_seconds)
    if network.ctc is None or not emitted:
        return emitted
    lengths = torch.tensor([len(feats)], device=network.feature_mean.device)
    batch = feats.unsqueeze(0).to(network.feature_mean.device)
    encoded = network.encode(network.normalize(batch, lengths), lengths, mode)
    try:
        spans = align(network.ctc(encoded.frames)[0, : int(encoded.lengths[0])], hypothesis.tokens)
    except InputError:  # more labels than its frames have room for
        return emitted
    aligned = aligned_words(spans, pieces, frame_seconds)
    return [replace(one, confidence=other.confidence) for one, other in zip(aligned, emitted)]
