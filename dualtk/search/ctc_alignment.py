"""CTC forced alignment: which frames belong to which label of a known transcript, by the most probable path.

Axes: T frames, U labels, V vocabulary, S states (2U + 1: blank, label, blank, ..., label, blank).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualtk.errors import InputError
from dualtk.search.hypothesis import BLANK, Hypothesis, SpokenWord, spoken_words


@dataclass(frozen=True)
class TokenSpan:
    """The frames of one label.

    Attributes:
        token: label id.
        start: its first frame.
        end: the frame after its last.
        log_prob: mean of its log-probabilities over these frames.
    """

    token: int
    start: int
    end: int
    log_prob: float


def align(log_probs: Tensor, targets: Sequence[int]) -> list[TokenSpan]:
    """The most probable CTC path that spells `targets`.

    Args:
        log_probs: (T, V) of one utterance, blank is class 0.
        targets: (U,) labels.

    Returns:
        For each label its frames, in order and without overlap; frames between them are blank.

    Raises:
        InputError: a label that is no class or is blank, labels that do not fit into the frames, or no path of a
            probability that is a number above zero.
    """
    num_frames, num_classes = log_probs.shape
    for token in targets:
        if not BLANK < token < num_classes:
            raise InputError(f"CTC alignment: {token} is no label: they are 1 to {num_classes - 1}")
    needed = len(targets) + sum(one == other for one, other in pairwise(targets))
    if needed > num_frames:
        raise InputError(f"CTC alignment: {len(targets)} labels need {needed} frames, there are {num_frames}")
    states = np.full(2 * len(targets) + 1, BLANK)
    states[1::2] = targets
    scores = log_probs.detach().to("cpu", torch.float64).numpy()
    return _spans(_best_path(scores[:, states], states) if num_frames else [], scores, states)


def _best_path(scores: NDArray[np.float64], states: NDArray[np.int64]) -> list[int]:
    """Scores (T, S) of the classes `states` (S,) -> for each frame its state on the best path."""
    num_frames, num_states = scores.shape
    can_skip = np.zeros(num_states, dtype=bool)  # the blank between two different labels
    can_skip[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(num_states, -np.inf)
    best[:2] = scores[0, :2]
    moves = np.zeros((num_frames, num_states), dtype=np.int8)
    for frame in range(1, num_frames):
        before = best
        for move, source in ((1, before[:-1]), (2, np.where(can_skip[2:], before[:-2], -np.inf))):
            better = source > best[move:]
            moves[frame, move:][better] = move
            best = np.concatenate([best[:move], np.where(better, source, best[move:])])
        best = best + scores[frame]
    state = num_states - 1 if num_states == 1 or best[-1] > best[-2] else num_states - 2
    if not np.isfinite(best[state]):
        raise InputError(f"CTC alignment: the best path has log-probability {best[state]}")
    path = [state]
    for frame in range(num_frames - 1, 0, -1):
        state -= int(moves[frame, state])
        path.append(state)
    return path[::-1]


def _spans(path: list[int], scores: NDArray[np.float64], states: NDArray[np.int64]) -> list[TokenSpan]:
    """The runs of label states (odd) in a path; `scores` are (T, V)."""
    starts = np.searchsorted(path, np.arange(1, len(states), 2), side="left").tolist()
    ends = np.searchsorted(path, np.arange(1, len(states), 2), side="right").tolist()
    tokens = states[1::2].tolist()
    return [
        TokenSpan(token, start, end, float(scores[start:end, token].mean()))
        for token, start, end in zip(tokens, starts, ends)
    ]


def aligned_words(spans: Sequence[TokenSpan], pieces: Sequence[str], frame_seconds: float) -> list[SpokenWord]:
    """The words of an alignment, from the start of the first token to the end of the last.

    Args:
        spans: of `align`.
        pieces: the vocabulary, in which "▁" starts a word.
        frame_seconds: from one encoder frame to the next.
    """
    tokens, log_probs = [one.token for one in spans], [one.log_prob for one in spans]
    first, last = [one.start for one in spans], [one.end - 1 for one in spans]
    begun = spoken_words(Hypothesis(tokens, first, log_probs), pieces, frame_seconds)
    ended = spoken_words(Hypothesis(tokens, last, log_probs), pieces, frame_seconds)
    return [replace(one, end=other.end) for one, other in zip(begun, ended)]
