"""Tokens that sound alike to the encoder, from the softmax of its own output (CoDERT, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.analysis.picture import Picture, Table, canvas


@dataclass(frozen=True)
class Similar:
    """A wordpiece, how often it was seen, and what the encoder took it for: (wordpiece, mean probability)."""

    piece: str
    times: int
    others: list[tuple[str, float]]


def similar_wordpieces(
    encoder_logits: Tensor, labels: Tensor, pieces: Sequence[str], top: int = 5, longest: int = 15, blank: int = 0
) -> list[Similar]:
    """Average softmax(h_enc) over the frames that emit each wordpiece, without blank; the most frequent pieces first.

    Args:
        encoder_logits: (N, V) encoder output at the frame of each label's emission.
        labels: (N,) the labels.
        pieces: (V,) wordpieces.
        top: alternatives of each.
        longest: number of wordpieces.
        blank: class left out.
    """
    logits = encoder_logits.clone()
    logits[:, blank] = float("-inf")
    probabilities = torch.softmax(logits, dim=-1)
    values, counts = torch.unique(labels, return_counts=True)
    order = torch.argsort(counts, descending=True, stable=True)[:longest]
    found = []
    for index in order.tolist():
        label = int(values[index])
        mean = probabilities[labels == label].mean(0)
        mean[label] = -1.0  # the wordpiece itself is no alternative
        best = torch.topk(mean, min(top, len(pieces) - 2))
        others = [(pieces[other], value) for value, other in zip(best.values.tolist(), best.indices.tolist())]
        found.append(Similar(pieces[label], int(counts[index]), others))
    return found


def similar_picture(found: Sequence[Similar], system: str, name: str = "similar") -> Picture:
    """The table of one system as text: a wordpiece to the left, what resembles it to the right."""
    figure, (axes,) = canvas(height=0.5 + 0.19 * len(found))
    axes.set_axis_off()
    rows: list[list[object]] = []
    for line, one in enumerate(found):
        others = "   ".join(f"{piece} {value:.2f}" for piece, value in one.others)
        axes.text(0.0, -line, one.piece, fontsize=8, fontweight="bold", color=axes.title.get_color())
        axes.text(0.24, -line, others, fontsize=8, color=axes.title.get_color())
        rows += [[one.piece, one.times, piece, value] for piece, value in one.others]
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(found), 1)
    caption = "Left, a wordpiece; right, the others to which the encoder alone gives most at its frames, with the mean."
    table = Table(["wordpiece", "times", "similar", "probability"], rows)
    return Picture(name, f"Acoustically similar wordpieces, {system}", caption, figure, table)
