"""Results of a search: labels, when they were emitted, and how sure the network was; and the words they spell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dualtk.pieces import WORD_START, spelled

BLANK = 0


@dataclass
class Hypothesis:
    """A result for one utterance, or for the part of it that has been searched.

    Attributes:
        tokens: label ids, without blank.
        frames: for each token the encoder frame that emitted it.
        log_probs: for each token its log-probability at that frame.
        score: log-probability of the path, or of all merged paths (beam search), with a language model's share.
    """

    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    score: float = 0.0

    def append(self, token: int, frame: int, log_prob: float) -> None:
        """One more token; the score is the caller's."""
        self.tokens.append(token)
        self.frames.append(frame)
        self.log_probs.append(log_prob)

    def shifted(self, frames: int) -> Hypothesis:
        """The same, `frames` later."""
        return replace(self, frames=[frames + frame for frame in self.frames])

    def save(self) -> dict[str, Any]:
        """Lists and numbers, from which `Hypothesis(**saved)` makes the same again."""
        return {
            "tokens": list(self.tokens),
            "frames": list(self.frames),
            "log_probs": list(self.log_probs),
            "score": self.score,
        }


def joined(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    """One after the other."""
    whole = Hypothesis()
    for one in hypotheses:
        whole.tokens += one.tokens
        whole.frames += one.frames
        whole.log_probs += one.log_probs
        whole.score += one.score
    return whole


@dataclass(frozen=True)
class Limits:
    """What no hypothesis may exceed, so that a network that never emits blank ends all the same.

    A blank that a limit forces is paid for as any other, so scores stay log-probabilities of paths.

    Attributes:
        symbols_per_frame: labels that one encoder frame may emit; blank comes next.
        symbols_per_utterance: labels in all; None for no limit but the one per frame. A hypothesis that has them takes
            blank in every frame that is left. What is ahead in the beam meets this limit first, so under it a larger
            beam need not find a better score.
    """

    symbols_per_frame: int = 5
    symbols_per_utterance: int | None = None

    def __post_init__(self) -> None:
        if self.symbols_per_frame < 1 or (self.symbols_per_utterance is not None and self.symbols_per_utterance < 0):
            raise ValueError(f"at least 1 symbol per frame and 0 per utterance, not {self}")

    def is_full(self, num_tokens: int) -> bool:
        """Whether an utterance with `num_tokens` labels may have no more."""
        return self.symbols_per_utterance is not None and num_tokens >= self.symbols_per_utterance


@dataclass(frozen=True)
class SpokenWord:
    """A word of a hypothesis.

    Attributes:
        text: its letters.
        start, end: seconds, from the start of the frame that emitted its first token to the end of that of its last.
        confidence: geometric mean of the probabilities of its tokens, in (0, 1].
    """

    text: str
    start: float
    end: float
    confidence: float


def spoken_words(hypothesis: Hypothesis, pieces: Sequence[str], frame_seconds: float) -> list[SpokenWord]:
    """The words of a hypothesis.

    Args:
        hypothesis: its frames are encoder frames.
        pieces: the vocabulary, in which "▁" starts a word.
        frame_seconds: from one encoder frame to the next.
    """
    groups: list[list[int]] = []
    for index, token in enumerate(hypothesis.tokens):
        if pieces[token].startswith(WORD_START) or not groups:
            groups.append([])
        groups[-1].append(index)
    words = []
    for group in groups:
        text = spelled([pieces[hypothesis.tokens[index]] for index in group])
        mean = sum(hypothesis.log_probs[index] for index in group) / len(group)
        start, end = hypothesis.frames[group[0]] * frame_seconds, (hypothesis.frames[group[-1]] + 1) * frame_seconds
        if text:
            words.append(SpokenWord(text, start, end, math.exp(min(mean, 0.0))))
    return words
