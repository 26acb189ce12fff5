"""Forced alignment against all alignments, and against torchaudio's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from peers import torchaudio
from torch import Tensor

from dualtk.errors import InputError
from dualtk.search.ctc_alignment import TokenSpan, align, aligned_words


def path_of(spans: list[TokenSpan], num_frames: int) -> tuple[int, ...]:
    """The class of each frame."""
    path = [0] * num_frames
    for span in spans:
        assert span.start < span.end
        path[span.start : span.end] = [span.token] * (span.end - span.start)
    return tuple(path)


def score_of(path: tuple[int, ...], log_probs: Tensor) -> float:
    return sum(log_probs[frame, token].item() for frame, token in enumerate(path))


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


@pytest.mark.parametrize("seed", range(3))
def test_no_alignment_is_better(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for num_frames, targets in itertools.product(
        range(6), [(), (1,), (2, 2), (1, 2), (2, 1, 1), (1, 2, 1), (1, 1, 1), (2, 1, 2, 1)]
    ):
        log_probs = (2 * torch.randn(num_frames, 3, generator=generator, dtype=torch.float64)).log_softmax(1)
        paths = [path for path in itertools.product(range(3), repeat=num_frames) if collapse(path) == targets]
        if not paths:
            with pytest.raises(InputError, match="need"):
                align(log_probs, targets)
            continue
        spans = align(log_probs, targets)
        assert [span.token for span in spans] == list(targets)
        path = path_of(spans, num_frames)
        assert path == max(paths, key=lambda path: score_of(path, log_probs))
        for span in spans:
            frames = [log_probs[frame, span.token].item() for frame in range(span.start, span.end)]
            assert span.log_prob == pytest.approx(sum(frames) / len(frames))


@pytest.mark.parametrize("seed", range(10))
def test_equal_to_torchaudio(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    num_frames = int(torch.randint(60, 200, (), generator=generator))
    targets = torch.randint(1, 5 if seed % 2 else 60, (int(num_frames * (0.1 + 0.04 * seed)),), generator=generator)
    log_probs = (3 * torch.randn(num_frames, 60, generator=generator)).log_softmax(1)
    path, scores = torchaudio.functional.forced_align(log_probs.unsqueeze(0), targets.unsqueeze(0).int())
    found = path_of(align(log_probs, targets.tolist()), num_frames)
    assert score_of(found, log_probs) == pytest.approx(scores.sum().item(), rel=1e-5)
    assert list(found) == path[0].tolist()


def test_a_clear_alignment() -> None:
    log_probs = torch.full((9, 4), 0.01)
    for frame, token in enumerate([0, 3, 3, 0, 1, 1, 1, 2, 0]):
        log_probs[frame, token] = 0.97
    spans = align(log_probs.log().bfloat16(), [3, 1, 2])
    assert [(one.token, one.start, one.end) for one in spans] == [(3, 1, 3), (1, 4, 7), (2, 7, 8)]
    assert spans[0].log_prob == pytest.approx(math.log(0.97), abs=1e-2)
    assert align(log_probs, []) == []


@pytest.mark.parametrize(
    ("log_probs", "targets", "message"),
    [
        (torch.zeros(3, 4), [1, 1, 2], "3 labels need 4 frames, there are 3"),
        (torch.zeros(3, 4), [4], "4 is no label: they are 1 to 3"),
        (torch.zeros(3, 4), [0], "0 is no label"),
        (torch.full((3, 4), float("nan")), [1], "log-probability nan"),
        (torch.full((3, 4), -math.inf), [1], "log-probability -inf"),
    ],
)
def test_what_cannot_be_aligned_is_refused(log_probs: Tensor, targets: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        align(log_probs, targets)


def test_words_go_from_the_start_of_their_first_frame_to_the_end_of_their_last() -> None:
    pieces = ["<blk>", "▁HE", "LLO", "▁YOU"]
    spans = [TokenSpan(1, 2, 4, -0.1), TokenSpan(2, 6, 9, -0.3), TokenSpan(3, 9, 10, 0.0)]
    words = aligned_words(spans, pieces, 0.04)
    assert [one.text for one in words] == ["HELLO", "YOU"]
    assert [time for one in words for time in (one.start, one.end)] == pytest.approx([0.08, 0.36, 0.36, 0.4])
    assert words[0].confidence == pytest.approx(math.exp(-0.2))
    assert aligned_words([], pieces, 0.04) == []
