"""Words that a search prefers: an Aho-Corasick automaton over tokens (Aho and Corasick, 1975), as contextual biasing of
icefall and sherpa-onnx uses it.

Every token that goes on with a hotword is rewarded at once, so that the search finds its way into the word; what was
given for a beginning is taken back when another token follows. A hotword that is complete keeps its reward.

Shapes: N hypotheses, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from dualtk.errors import InputError
from dualtk.search.hypothesis import BLANK
from dualtk.tables import read_lines

UNKNOWN = 1
CACHED_ROWS = 1024  # of V rewards each, kept between calls


@dataclass(frozen=True)
class Hotword:
    """Words to prefer, as tokens, and the reward of each token as a natural logarithm."""

    tokens: tuple[int, ...]
    reward: float


@dataclass
class _Node:
    """A prefix of hotwords.

    Attributes:
        children: by token.
        reward: of its last token.
        total: of all its tokens.
        open: what of that is taken back if no hotword is completed: nothing of a hotword that its end spells.
        is_end: a hotword is complete.
        fallback: node of its longest suffix that is a prefix of a hotword too.
    """

    children: dict[int, int] = field(default_factory=dict)
    reward: float = 0.0
    total: float = 0.0
    open: float = 0.0
    is_end: bool = False
    fallback: int = 0
    ending: int = 0  # node of its longest suffix, other than itself, that is a hotword


class Hotwords:
    """A `LanguageModel` whose scores are rewards; its states are nodes of the automaton.

    Args:
        words: at least one.
        vocab_size: V.
    """

    def __init__(self, words: Iterable[Hotword], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._nodes = [_Node()]
        self._rows: dict[int, Tensor] = {}
        self._gains: dict[int, Tensor] = {}
        for word in words:
            self._add(word)
        self._complete()

    def _add(self, word: Hotword) -> None:
        node = self._nodes[0]
        for token in word.tokens:
            if token not in node.children:
                node.children[token] = len(self._nodes)
                self._nodes.append(_Node())
            node = self._nodes[node.children[token]]
            node.reward = max(node.reward, word.reward)
        node.is_end = True

    def _complete(self) -> None:
        """Fallbacks and open rewards, breadth first."""
        waiting = deque([0])
        while waiting:
            number = waiting.popleft()
            parent = self._nodes[number]
            for token, child in parent.children.items():
                node = self._nodes[child]
                if number:
                    node.fallback = self._nodes[self._source(parent.fallback, token)].children.get(token, 0)
                back = self._nodes[node.fallback]
                node.ending = node.fallback if back.is_end else back.ending
                node.total = parent.total + node.reward
                kept = node.total if node.is_end else self._nodes[node.ending].total
                node.open = max(0.0, min(parent.open + node.reward, node.total - kept))
                waiting.append(child)

    def _source(self, state: int, token: int) -> int:
        """The node, `state` or what it falls back to, that `token` goes on from; the root if there is none."""
        while state and token not in self._nodes[state].children:
            state = self._nodes[state].fallback
        return state

    def start(self) -> int:
        """See `LanguageModel.start`."""
        return 0

    def advance(self, states: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """See `LanguageModel.advance`."""
        found = zip(states, tokens)
        return [self._nodes[self._source(state, token)].children.get(token, 0) for state, token in found]

    def scores(self, states: Sequence[int]) -> Tensor:
        """See `LanguageModel.scores`: what each label earns; negative where it gives up a beginning."""
        return torch.stack([self._row(state) for state in states])

    def gains(self, states: Sequence[int]) -> Tensor:
        """Scores (N, V) of which nothing is taken back, for a search that cannot change its mind."""
        rows = [self._gain(state) for state in states]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def _gain(self, state: int) -> Tensor:
        gain = self._gains.get(state)
        if gain is None:
            gain = self._row(state).clamp(min=0.0)
            if len(self._gains) < CACHED_ROWS:
                self._gains[state] = gain
        return gain

    def _row(self, state: int) -> Tensor:
        """Labels that go on from `state` earn their reward; others what they earn where it falls back to, less what was
        given for the beginning and is not given there."""
        row = self._rows.get(state)
        if row is None:
            node = self._nodes[state]
            if state:
                row = self._row(node.fallback) + (self._nodes[node.fallback].open - node.open)
            else:
                row = torch.zeros(self.vocab_size)
            if node.children:
                rewards = [self._nodes[child].reward for child in node.children.values()]
                row[list(node.children)] = torch.tensor(rewards)
            row[BLANK] = 0.0
            if len(self._rows) < CACHED_ROWS:
                self._rows[state] = row
        return row

    def final(self, states: Sequence[int]) -> list[float]:
        """See `LanguageModel.final`: a beginning is no hotword."""
        return [-self._nodes[state].open for state in states]


def parse_hotwords(
    lines: Iterable[str], encode: Callable[[str], list[int]], reward: float, source: str
) -> list[Hotword]:
    """Hotwords of lines `WORD [WORD ...] [:REWARD]`, as sherpa-onnx has them.

    Args:
        lines: empty ones are passed over.
        encode: text to tokens.
        reward: of each token, where the line does not say.
        source: for errors.

    Raises:
        InputError: a reward that is no number, or words that the tokens cannot spell.
    """
    words = []
    for number, line in enumerate(lines, start=1):
        text, own = line.strip(), reward
        if not text:
            continue
        before, colon, after = text.rpartition(":")
        if colon and before.endswith((" ", "\t")):
            try:
                text, own = before.strip(), float(after)
            except ValueError as error:
                raise InputError(f"{source}:{number}: {after.strip()} is no number") from error
        tokens = encode(text)
        if not tokens or UNKNOWN in tokens:
            raise InputError(f"{source}:{number}: {text}: the network has no tokens for it")
        words.append(Hotword(tuple(tokens), own))
    return words


def read_hotwords(path: Path, encode: Callable[[str], list[int]], reward: float) -> list[Hotword]:
    """The hotwords of a file; see `parse_hotwords`."""
    return parse_hotwords(read_lines(path), encode, reward, str(path))
