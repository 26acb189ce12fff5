"""Greedy search over a CTC head: the best class of each frame, without blanks and repeats (Graves et al. 2006).

Shapes: B batch, T frames, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualtk.search.hypothesis import BLANK, Hypothesis
from dualtk.transducer.ctc import CTCHead
from dualtk.transducer.joiner import Joiner
from dualtk.transducer.predictor import Predictor


@dataclass
class CTCStream:
    """A stream's place in a greedy CTC search: its hypothesis so far, and the class of its last frame."""

    hypothesis: Hypothesis
    last: int = BLANK
    num_frames: int = 0


class CTCGreedySearch:
    """The most probable path of each stream.

    A label that lasts several frames belongs to the first of them, which is when a stream knows it; that frame gives
    its log-probability. The score is the log-probability of the path, not of all paths that spell the same labels.

    Args:
        head: of the network.
    """

    def __init__(self, head: CTCHead) -> None:
        self.head = head

    def start(self, batch: int) -> list[CTCStream]:
        """Streams before their first frame."""
        return [CTCStream(Hypothesis()) for _ in range(batch)]

    @torch.inference_mode()
    def advance(self, frames: Tensor, lengths: Tensor, streams: Sequence[CTCStream]) -> None:
        """Extend each stream's hypothesis by its row of frames (B, T, D), `lengths` (B,) of which are valid."""
        best, classes = self.head(frames).max(2)
        rows = zip(streams, lengths.tolist(), classes.tolist(), best.tolist())
        for stream, length, row_classes, row_log_probs in rows:
            for token, log_prob in zip(row_classes[:length], row_log_probs):
                if token not in (BLANK, stream.last):
                    stream.hypothesis.append(token, stream.num_frames, log_prob)
                stream.hypothesis.score += log_prob
                stream.last = token
                stream.num_frames += 1

    def over(self, predictor: Predictor, joiner: Joiner) -> CTCGreedySearch:
        """See `Search.over`; it asks neither."""
        return self

    def nbest(self, stream: CTCStream, final: bool = False) -> list[Hypothesis]:
        """The one hypothesis."""
        return [stream.hypothesis]

    def save(self, stream: CTCStream) -> dict[str, Any]:
        """See `Search.save`."""
        return {"hypothesis": stream.hypothesis.save(), "last": stream.last, "num_frames": stream.num_frames}

    def restore(self, saved: dict[str, Any]) -> CTCStream:
        """See `Search.restore`."""
        return CTCStream(Hypothesis(**saved["hypothesis"]), saved["last"], saved["num_frames"])
