"""Whole utterances: encoded in a batch, then searched.

Shapes: B utterances, T feature frames, T' encoder frames, F features, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.transducer.model import Transducer


def search_frames(search: Search[Any], frames: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
    """The hypotheses of whole utterances, best first: encoder frames (B, T', D), lengths (B,)."""
    streams = search.start(len(frames))
    search.advance(frames, lengths, streams)
    return [search.nbest(stream, final=True) for stream in streams]


class WholeDecoder:
    """Decodes utterances that are there to their end.

    Args:
        network: in eval mode.
        mode: any mode of it; a streaming one gives what `StreamingDecoder` gives.
        search: over its predictor and joiner.
    """

    def __init__(self, network: Transducer, mode: Mode, search: Search[Any]) -> None:
        self.network = network
        self.mode = mode
        self.search = search

    @torch.inference_mode()
    def decode(self, feats: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Raw feats (B, T, F) of `lengths` (B,) frames -> the hypotheses of each utterance, best first."""
        device = self.network.feature_mean.device
        feats, lengths = feats.to(device), lengths.to(device)
        if feats.shape[1] == 0:  # audio of less than a frame, which no encoder takes
            return [self.search.nbest(stream, final=True) for stream in self.search.start(len(feats))]
        encoded = self.network.encode(self.network.normalize(feats, lengths), lengths, self.mode)
        return search_frames(self.search, encoded.frames, encoded.lengths)
