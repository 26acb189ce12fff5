"""Beam search, batched over utterances or streams, in step with the encoder's frames; equal prefixes are merged.

Within a frame a hypothesis is either searching (it may still emit labels) or done (it has taken blank). The joiner and
the predictor see all hypotheses of all streams at once; the bookkeeping of a few hypotheses per stream is on the host.

Shapes: B streams, N hypotheses of all of them, K the beam, T frames, D width, J joiner width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dualtk.search.fusion import Fusion, States
from dualtk.search.greedy import DEFAULT_LIMITS, first_output, predict, stack_states
from dualtk.search.hypothesis import BLANK, Hypothesis, Limits
from dualtk.transducer.joiner import Joiner
from dualtk.transducer.predictor import Predictor, State

KEY_PRIME = 2**61 - 1


class Emission(NamedTuple):
    """The last label of a path, and the path before it."""

    before: Emission | None
    token: int
    frame: int
    log_prob: float


@dataclass(eq=False)
class Candidate:
    """A prefix of labels in the beam.

    Attributes:
        score: log-probability of all its merged paths, with what language models add.
        key: a number that stands for its labels; equal for equal prefixes, and else different but for a chance of
            about 2^-61.
        path: the labels with their times, on the best of the merged paths.
        best: score of that path.
        num_tokens: how many labels.
        row: where its predictor output and state are.
        lm_states: of the language models, after its labels.
    """

    score: float
    key: int
    path: Emission | None
    best: float
    num_tokens: int
    row: int
    lm_states: States = ()

    def hypothesis(self) -> Hypothesis:
        """Its labels and times."""
        found = Hypothesis(score=self.score)
        emission = self.path
        while emission is not None:
            found.append(emission.token, emission.frame, emission.log_prob)
            emission = emission.before
        for values in (found.tokens, found.frames, found.log_probs):
            values.reverse()
        return found


SCORE = attrgetter("score")


@dataclass
class BeamStream:
    """A stream's place in a beam search: its hypotheses, and for the row of each the predictor's output and state."""

    candidates: list[Candidate]
    output: Tensor  # (rows, J)
    predictor: State
    num_frames: int = 0


class Rows:
    """Predictor outputs and states of hypotheses, one row each; rows are added during a frame."""

    def __init__(self, output: Tensor, state: State) -> None:
        self.output = output
        self.state = state

    def append(self, output: Tensor, state: State) -> int:
        """Add rows; the number of the first."""
        first = len(self.output)
        self.output = torch.cat([self.output, output])
        self.state = {key: torch.cat([value, state[key]]) for key, value in self.state.items()}
        return first

    def keep(self, candidates: Sequence[Candidate]) -> None:
        """Forget all rows but those of `candidates`, and number them in their order."""
        numbers = [candidate.row for candidate in candidates]
        if numbers == list(range(len(self.output))):
            return
        index = torch.tensor(numbers, device=self.output.device)
        self.output = self.output[index]
        self.state = {key: value[index] for key, value in self.state.items()}
        for row, candidate in enumerate(candidates):
            candidate.row = row


class _Beam:
    """The hypotheses of one stream within one frame."""

    def __init__(self, candidates: list[Candidate], size: int, keeps_done: bool) -> None:
        self.searching = candidates
        self.done: dict[int, Candidate] = {}
        self.size = size
        self.keeps_done = keeps_done

    def finish(self, candidate: Candidate, score: float) -> None:
        """`candidate` has taken blank and now has `score`; it joins an equal prefix that is done already."""
        best = candidate.best + score - candidate.score
        other = self.done.get(candidate.key)
        if other is None:
            candidate.score, candidate.best = score, best
            self.done[candidate.key] = candidate
            return
        high, low = max(other.score, score), min(other.score, score)
        other.score = high + math.log1p(math.exp(low - high))
        if best > other.best:
            other.best, other.path = best, candidate.path

    def prune(self, extended: list[Candidate]) -> None:
        """Search on with those of `extended` that are better than the last of the best that are done.

        What is done stays until the frame ends: more of its paths may come.
        """
        best = nlargest(self.size, self.done.values(), key=SCORE)
        lowest = best[-1].score if len(best) == self.size else -math.inf
        self.searching = [candidate for candidate in extended if candidate.score > lowest]
        if self.searching and not self.keeps_done:
            self.done = {}


class BeamSearch:
    """Time-synchronous beam search with merged prefixes (after Graves 2012, section 2.4, and Saon et al. 2020).

    A beam of one is greedy search. Larger beams decide between what is done and what still emits only at the end of
    the frame, when both have paid for their blank.

    Args:
        predictor, joiner: of the network.
        beam: hypotheses that are kept.
        limits: on labels per frame and per utterance.
        fusion: what language models add to the score of each label, or None.
    """

    def __init__(
        self,
        predictor: Predictor,
        joiner: Joiner,
        beam: int,
        limits: Limits = DEFAULT_LIMITS,
        fusion: Fusion | None = None,
    ) -> None:
        if beam < 1:
            raise ValueError(f"a beam of at least 1, not {beam}")
        self.predictor = predictor
        self.joiner = joiner
        self.beam = beam
        self.limits = limits
        self.fusion = fusion

    def over(self, predictor: Predictor, joiner: Joiner) -> BeamSearch:
        """See `Search.over`."""
        return BeamSearch(predictor, joiner, self.beam, self.limits, self.fusion)

    @torch.inference_mode()
    def start(self, batch: int) -> list[BeamStream]:
        """Streams before their first frame."""
        output, state = first_output(self.predictor, self.joiner)
        states = () if self.fusion is None else self.fusion.start()
        return [BeamStream([Candidate(0.0, 0, None, 0.0, 0, 0, states)], output, dict(state)) for _ in range(batch)]

    def nbest(self, stream: BeamStream, final: bool = False) -> list[Hypothesis]:
        """All hypotheses of the beam; at the end language models say how well they end."""
        found = [candidate.hypothesis() for candidate in stream.candidates]
        if final and self.fusion is not None:
            endings = self.fusion.final([candidate.lm_states for candidate in stream.candidates])
            for hypothesis, ending in zip(found, endings):
                hypothesis.score += ending
        return sorted(found, key=SCORE, reverse=True)

    @torch.inference_mode()
    def advance(self, frames: Tensor, lengths: Tensor, streams: Sequence[BeamStream]) -> None:
        """Search on, in place, through frames (B, T, D) of which `lengths` (B,) are valid."""
        projected = self.joiner.encoder(frames)
        rows = self._collect(streams)
        sizes = lengths.tolist()
        for t in range(max(sizes, default=0)):
            active = [index for index, size in enumerate(sizes) if t < size]
            beams = [_Beam(streams[index].candidates, self.beam, self.beam > 1) for index in active]
            self._search_frame(
                projected[:, t], active, beams, rows, [streams[index].num_frames + t for index in active]
            )
            for index, beam in zip(active, beams):
                streams[index].candidates = nlargest(self.beam, beam.done.values(), key=SCORE)
            rows.keep([candidate for stream in streams for candidate in stream.candidates])
        self._distribute(streams, rows)
        for stream, size in zip(streams, sizes):
            stream.num_frames += size

    @staticmethod
    def _collect(streams: Sequence[BeamStream]) -> Rows:
        """The rows of all streams together; the numbers of the candidates follow."""
        rows = Rows(
            torch.cat([stream.output for stream in streams]), stack_states([stream.predictor for stream in streams])
        )
        first = 0
        for stream in streams:
            for candidate in stream.candidates:
                candidate.row += first
            first += len(stream.output)
        return rows

    @staticmethod
    def _distribute(streams: Sequence[BeamStream], rows: Rows) -> None:
        """Give each stream its own rows back."""
        rows.keep([candidate for stream in streams for candidate in stream.candidates])
        first = 0
        for stream in streams:
            last = first + len(stream.candidates)
            stream.output = rows.output[first:last].clone()
            stream.predictor = {key: value[first:last].clone() for key, value in rows.state.items()}
            for candidate in stream.candidates:
                candidate.row -= first
            first = last

    def _search_frame(
        self, projected: Tensor, active: list[int], beams: list[_Beam], rows: Rows, frames: list[int]
    ) -> None:
        """Take all beams through one frame (B, J)."""
        for _ in range(self.limits.symbols_per_frame):
            self._extend(projected, active, beams, rows, frames)
            if not any(beam.searching for beam in beams):
                return
        self._close(projected, active, beams, rows)

    def _close(self, projected: Tensor, active: list[int], beams: list[_Beam], rows: Rows) -> None:
        """End what still searches at the limit of the frame by blank."""
        waiting = [(beam, candidate, index) for index, beam in zip(active, beams) for candidate in beam.searching]
        logits = self._join(projected, rows, [one for _, one, _ in waiting], [index for _, _, index in waiting])
        blanks = logits[:, BLANK] - logits.logsumexp(-1)
        for (beam, candidate, _), blank in zip(waiting, blanks.tolist()):
            beam.finish(candidate, candidate.score + blank)

    def _extend(self, projected: Tensor, active: list[int], beams: list[_Beam], rows: Rows, frames: list[int]) -> None:
        """End every searching hypothesis by blank, and extend it by the best labels."""
        parents = [candidate for beam in beams for candidate in beam.searching]
        where = [index for index, beam in zip(active, beams) for _ in beam.searching]
        scored = self._score(projected, rows, parents, where)
        position = 0
        for beam, frame in zip(beams, frames):
            extended = self._children(beam.searching, frame, scored, position)
            for candidate in beam.searching:
                beam.finish(candidate, candidate.score + scored.blank[position])
                position += 1
            beam.prune(extended)
        self._predict([candidate for beam in beams for candidate in beam.searching], rows)

    def _join(self, projected: Tensor, rows: Rows, parents: list[Candidate], where: list[int]) -> Tensor:
        """Logits (N, V) of `parents`, which are in the beams of streams `where`."""
        logits: Tensor = self.joiner(
            projected[torch.tensor(where, device=projected.device)], self._predicted(rows, parents)
        )
        return logits

    @staticmethod
    def _predicted(rows: Rows, candidates: list[Candidate]) -> Tensor:
        """Predictor outputs (N, J)."""
        return rows.output[torch.tensor([one.row for one in candidates], device=rows.output.device)]

    def _score(self, projected: Tensor, rows: Rows, parents: list[Candidate], where: list[int]) -> _Scored:
        """Log-probabilities of blank and of the best labels of `parents`, which are in the beams of streams `where`."""
        log_probs = self._join(projected, rows, parents, where).log_softmax(-1)
        labels = fused = log_probs[:, BLANK + 1 :]
        if self.fusion is not None:
            states = [candidate.lm_states for candidate in parents]
            fused = labels + self.fusion.added(states, self.joiner, self._predicted(rows, parents))
        best, tokens = fused.topk(min(self.beam, labels.size(1)))
        own = labels.gather(1, tokens)
        return _Scored(log_probs[:, BLANK].tolist(), (tokens + BLANK + 1).tolist(), best.tolist(), own.tolist())

    def _children(self, parents: list[Candidate], frame: int, scored: _Scored, first: int) -> list[Candidate]:
        """The best of `parents` with one more label; their rows are those of the parents until they are predicted.

        `first` is the place of the first parent in `scored`.
        """
        found = (
            (parent.score + fused, number, rank)
            for number, parent in enumerate(parents)
            if not self.limits.is_full(parent.num_tokens)
            for rank, fused in enumerate(scored.fused[first + number])
        )
        children = []
        for score, number, rank in nlargest(self.beam, found, key=itemgetter(0)):
            parent, position = parents[number], first + number
            token, fused = scored.tokens[position][rank], scored.fused[position][rank]
            children.append(
                Candidate(
                    score=score,
                    key=(parent.key * 1_000_003 + token + 1) % KEY_PRIME,
                    path=Emission(parent.path, token, frame, scored.own[position][rank]),
                    best=parent.best + fused,
                    num_tokens=parent.num_tokens + 1,
                    row=parent.row,
                    lm_states=parent.lm_states,
                )
            )
        return children

    def _predict(self, candidates: list[Candidate], rows: Rows) -> None:
        """Take predictor and language models past the last label of `candidates`."""
        if not candidates:
            return
        device = rows.output.device
        index = torch.tensor([candidate.row for candidate in candidates], device=device)
        tokens = [candidate.path.token for candidate in candidates if candidate.path is not None]
        state = {key: value[index] for key, value in rows.state.items()}
        output, state = predict(self.predictor, torch.tensor(tokens, device=device), state)
        first = rows.append(self.joiner.predictor(output), state)
        for number, candidate in enumerate(candidates):
            candidate.row = first + number
        if self.fusion is not None:
            after = self.fusion.advance([candidate.lm_states for candidate in candidates], tokens)
            for candidate, states in zip(candidates, after):
                candidate.lm_states = states

    def save(self, stream: BeamStream) -> dict[str, Any]:
        """See `Search.save`."""
        return {
            "candidates": [
                {**candidate.hypothesis().save(), "best": candidate.best, "row": candidate.row}
                for candidate in stream.candidates
            ],
            "output": stream.output.clone(),
            "predictor": {key: value.clone() for key, value in stream.predictor.items()},
            "num_frames": stream.num_frames,
        }

    def restore(self, saved: dict[str, Any]) -> BeamStream:
        """See `Search.restore`."""
        candidates = [self._rebuild(one) for one in saved["candidates"]]
        return BeamStream(candidates, saved["output"], saved["predictor"], saved["num_frames"])

    def _rebuild(self, saved: dict[str, Any]) -> Candidate:
        path, key = None, 0
        states = () if self.fusion is None else self.fusion.start()
        for token, frame, log_prob in zip(saved["tokens"], saved["frames"], saved["log_probs"]):
            path = Emission(path, token, frame, log_prob)
            key = (key * 1_000_003 + token + 1) % KEY_PRIME
            states = () if self.fusion is None else self.fusion.advance([states], [token])[0]
        return Candidate(saved["score"], key, path, saved["best"], len(saved["tokens"]), saved["row"], states)


@dataclass
class _Scored:
    """For each searching hypothesis: blank, the best labels with and without the language model's share."""

    blank: list[float]
    tokens: list[list[int]]
    fused: list[list[float]]
    own: list[list[float]]
