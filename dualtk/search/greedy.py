"""Greedy search, batched over utterances or streams (Graves 2012, with a limit on symbols per frame).

Shapes: B batch, R rows of it that still search, K frames looked at together, T frames, D width, J joiner width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from dualtk.nn.onednn import without_onednn
from dualtk.search.hotwords import Hotwords
from dualtk.search.hypothesis import BLANK, Hypothesis, Limits
from dualtk.transducer.joiner import Joiner
from dualtk.transducer.predictor import Predictor, State

BLOCK = 8  # frames whose joiner is evaluated together, as if no label came between
DEFAULT_LIMITS = Limits()

StreamT = TypeVar("StreamT")


class Search(Protocol[StreamT]):
    """What decoding and sessions ask of a search; the place of each stream in it belongs to the caller."""

    def start(self, batch: int) -> list[StreamT]:
        """Streams before their first frame."""
        ...

    def advance(self, frames: Tensor, lengths: Tensor, streams: Sequence[StreamT]) -> None:
        """Search on, in place, through frames (B, T, D) of which `lengths` (B,) are valid."""
        ...

    def nbest(self, stream: StreamT, final: bool = False) -> list[Hypothesis]:
        """The best hypotheses so far, best first; `final` once the utterance is over."""
        ...

    def save(self, stream: StreamT) -> dict[str, Any]:
        """Tensors, lists and numbers that `restore` takes."""
        ...

    def restore(self, saved: dict[str, Any]) -> StreamT:
        """The stream that was saved."""
        ...

    def over(self, predictor: Predictor, joiner: Joiner) -> Search[StreamT]:
        """The same search over what else computes the network's predictor and joiner."""
        ...


def first_output(predictor: Predictor, joiner: Joiner) -> tuple[Tensor, State]:
    """Projected output (1, J) of the predictor before the first label, and its state."""
    state = predictor.init_state(1)
    device = next(iter(state.values())).device
    output, state = predict(predictor, torch.full((1,), -1, dtype=torch.int64, device=device), state)
    return joiner.predictor(output), state


def predict(predictor: Predictor, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """One step of the predictor."""
    with without_onednn:
        return predictor.step(tokens, state)


def stack_states(states: Sequence[State]) -> State:
    """States of a few rows each to one state of all rows."""
    return {key: torch.cat([state[key] for state in states]) for key in states[0]}


@dataclass
class GreedyStream:
    """A stream's place in a greedy search: what the predictor says now, its state, and the labels so far; where words
    are preferred, the state after them."""

    output: Tensor  # (1, J)
    predictor: State
    hypothesis: Hypothesis
    num_frames: int = 0
    preferred: int = 0


class GreedySearch:
    """The best label of each frame, until it is blank.

    Between two labels the predictor's output does not change, so the joiner looks at a block of frames at once, and
    only what follows a label is computed again. The result is that of one frame at a time.

    Args:
        predictor, joiner: of the network.
        limits: on labels per frame and per utterance.
        hotwords: words whose tokens are rewarded while they go on with one; what was given is not taken back here.
    """

    def __init__(
        self, predictor: Predictor, joiner: Joiner, limits: Limits = DEFAULT_LIMITS, hotwords: Hotwords | None = None
    ) -> None:
        self.predictor = predictor
        self.joiner = joiner
        self.limits = limits
        self.hotwords = hotwords

    @torch.inference_mode()
    def start(self, batch: int) -> list[GreedyStream]:
        """Streams before their first frame."""
        output, state = first_output(self.predictor, self.joiner)
        return [GreedyStream(output, dict(state), Hypothesis()) for _ in range(batch)]

    def nbest(self, stream: GreedyStream, final: bool = False) -> list[Hypothesis]:
        """The one hypothesis."""
        return [stream.hypothesis]

    def save(self, stream: GreedyStream) -> dict[str, Any]:
        """See `Search.save`."""
        return {
            "output": stream.output.clone(),
            "predictor": {key: value.clone() for key, value in stream.predictor.items()},
            "hypothesis": stream.hypothesis.save(),
            "num_frames": stream.num_frames,
            "preferred": stream.preferred,
        }

    def over(self, predictor: Predictor, joiner: Joiner) -> GreedySearch:
        """See `Search.over`."""
        return GreedySearch(predictor, joiner, self.limits, self.hotwords)

    def restore(self, saved: dict[str, Any]) -> GreedyStream:
        """See `Search.restore`."""
        return GreedyStream(**{**saved, "hypothesis": Hypothesis(**saved["hypothesis"])})

    @torch.inference_mode()
    def advance(self, frames: Tensor, lengths: Tensor, streams: Sequence[GreedyStream]) -> None:
        """Extend each stream's hypothesis by its row of frames (B, T, D), `lengths` (B,) of which are valid."""
        projected = self.joiner.encoder(frames)
        output = torch.cat([stream.output for stream in streams])
        memory = stack_states([stream.predictor for stream in streams])
        rows = [_Row(index, length, stream) for index, (length, stream) in enumerate(zip(lengths.tolist(), streams))]
        searching = [row for row in rows if row.position < row.length]
        while searching:
            self._look(projected, output, searching)
            emitted = [row for row in searching if row.token != BLANK]
            if emitted:
                index = torch.tensor([row.index for row in emitted], device=frames.device)
                tokens = torch.tensor([row.token for row in emitted], device=frames.device)
                memory_of = {key: value[index] for key, value in memory.items()}
                new_output, new = predict(self.predictor, tokens, memory_of)
                output[index] = self.joiner.predictor(new_output)
                for key, value in memory.items():
                    value[index] = new[key]
                if self.hotwords is not None:
                    before = [row.stream.preferred for row in emitted]
                    for row, after in zip(emitted, self.hotwords.advance(before, [row.token for row in emitted])):
                        row.stream.preferred = after
            searching = [row for row in searching if row.position < row.length]
        for row in rows:
            row.stream.output = output[row.index : row.index + 1]
            row.stream.predictor = {key: value[row.index : row.index + 1] for key, value in memory.items()}
            row.stream.num_frames += row.length

    def _look(self, projected: Tensor, output: Tensor, rows: list[_Row]) -> None:
        """Move each row to its next label, at most a block of frames on; `row.token` is that label or blank."""
        block = min(BLOCK, max(row.length - row.position for row in rows))
        index = torch.tensor([row.index for row in rows], device=projected.device)
        start = torch.tensor([row.position for row in rows], device=projected.device)
        times = (start.unsqueeze(1) + torch.arange(block, device=projected.device)).clamp(max=projected.size(1) - 1)
        logits = self.joiner(projected[index.unsqueeze(1), times], output[index].unsqueeze(1))  # (R, K, V)
        total = logits.logsumexp(-1)
        if self.hotwords is None:
            best, tokens = logits.max(-1)
        else:
            rewards = self.hotwords.gains([row.stream.preferred for row in rows])
            tokens = (logits + rewards.to(logits.device).unsqueeze(1)).argmax(-1)
            best = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        log_probs, blanks = best - total, logits[..., BLANK] - total
        found = zip(rows, tokens.tolist(), log_probs.tolist(), blanks.tolist())
        for row, row_tokens, row_log_probs, row_blanks in found:
            row.move(row_tokens, row_log_probs, row_blanks, self.limits)


@dataclass
class _Row:
    """Where one stream stands within the frames of a call."""

    index: int
    length: int
    stream: GreedyStream
    position: int = 0
    token: int = BLANK  # at which the last look ended
    num_symbols: int = 0  # emitted by the frame at `position`

    def move(self, tokens: list[int], log_probs: list[float], blanks: list[float], limits: Limits) -> None:
        """Past the blanks that come first in the best `tokens` of the frames from `position` on, and the label then.

        At a limit blank is taken, and paid for, whatever is best: hence the log-probabilities `blanks` too.
        """
        hypothesis = self.stream.hypothesis
        is_full = limits.is_full(len(hypothesis.tokens))
        self.token = BLANK
        for token, log_prob, blank in zip(tokens[: self.length - self.position], log_probs, blanks):
            if token == BLANK or is_full or self.num_symbols == limits.symbols_per_frame:
                hypothesis.score += blank
                self.position += 1
                self.num_symbols = 0
                continue
            self.token = token
            hypothesis.score += log_prob
            hypothesis.append(token, self.stream.num_frames + self.position, log_prob)
            self.num_symbols += 1
            return
