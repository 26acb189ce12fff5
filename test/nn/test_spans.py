"""Random spans: how many, how long, and never where there is no position."""

from __future__ import annotations

import pytest
import torch
from peers import torchaudio

from dualtk.errors import InputError
from dualtk.nn.spans import SpanMask, uniform_integers
from dualtk.ssl.objective import MaskingOptions

PAPER = MaskingOptions().build()


def expected_rate(span: SpanMask, num_frames: int) -> float:
    """Frame t is hidden by a span that begins at one of the min(t + 1, length) frames up to it."""
    frames = torch.arange(1, num_frames + 1).clamp(max=span.length)
    return float((1 - (1 - span.probability) ** frames.double()).mean())


def runs(row: list[bool]) -> list[tuple[int, int]]:
    """(first, last) of each run of masked frames."""
    edges = [i for i, (one, other) in enumerate(zip([False, *row], [*row, False])) if one != other]
    return [(first, last - 1) for first, last in zip(edges[::2], edges[1::2])]


@pytest.mark.parametrize(("probability", "length"), [(0.065, 10), (0.2, 3), (0.01, 20), (0.5, 1)])
def test_the_rate_of_masked_frames_is_that_of_the_formula(probability: float, length: int) -> None:
    torch.manual_seed(0)
    span, lengths = SpanMask(probability, length, always=True), torch.full((400,), 600)
    mask = span.draw(lengths, 600)
    assert float(mask.float().mean()) == pytest.approx(expected_rate(span, 600), abs=0.01)
    middle = mask[:, 30:].float().mean()
    assert float(middle) == pytest.approx(1 - (1 - probability) ** length, abs=0.01)


def test_the_paper_masks_about_half() -> None:
    torch.manual_seed(0)
    lengths = torch.full((200,), 1000)
    ours = PAPER.draw(lengths, 1000).float().mean()
    assert float(ours) == pytest.approx(0.49, abs=0.01)  # section 4.2
    # One utterance at a time: of a batch, torchaudio unmasks frames until all rows have equally many.
    draw = torchaudio.models.wav2vec2.components._compute_mask_indices
    theirs = [draw((1, 1000), None, mask_prob=0.65, mask_length=10).float().mean() for _ in range(40)]
    assert float(ours) == pytest.approx(float(torch.stack(theirs).mean()), abs=0.02)


def test_masks_stay_inside_utterances_and_spans_are_whole() -> None:
    torch.manual_seed(1)
    span, lengths = SpanMask(0.05, 7, always=True), torch.arange(0, 64)
    for _ in range(20):
        mask = span.draw(lengths, 80)
        for row, length in zip(mask.tolist(), lengths.tolist()):
            assert not any(row[length:])
            assert any(row) == (length >= 7)
            assert all(last - first + 1 >= 7 or last == length - 1 for first, last in runs(row))


def test_a_forced_span_begins_anywhere_it_fits() -> None:
    torch.manual_seed(2)
    mask = SpanMask(0.0, 4, always=True).draw(torch.full((3000,), 10), 12)
    assert bool((mask.sum(1) == 4).all())
    counts = torch.bincount(mask.long().argmax(1), minlength=12)
    assert counts[7:].sum() == 0
    assert float(counts[:7].min()) > 3000 / 7 * 0.8


def test_masks_follow_the_seed() -> None:
    lengths = torch.tensor([50, 40])
    torch.manual_seed(3)
    first, second = PAPER.draw(lengths, 50), PAPER.draw(lengths, 50)
    torch.manual_seed(3)
    assert torch.equal(first, PAPER.draw(lengths, 50))
    assert not torch.equal(first, second)
    before = torch.get_rng_state()
    drawn = [PAPER.draw(lengths, 50, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(before, torch.get_rng_state())


def test_integers_never_reach_their_count() -> None:
    counts = torch.arange(1, 5000)
    largest = torch.full((1,), 1 - 2.0**-24)
    assert torch.equal(uniform_integers(largest, counts), counts - 1)
    assert int(uniform_integers(largest, torch.tensor([0]))) == 0


def test_chance_may_leave_a_row_without_a_span() -> None:
    torch.manual_seed(4)
    mask = SpanMask(0.01, 4, always=False).draw(torch.full((3000,), 30), 30)
    assert float((~mask.any(1)).float().mean()) == pytest.approx(0.99**30, abs=0.03)
    assert not bool(SpanMask(0.0, 4, always=False).draw(torch.tensor([30, 4, 3, 0]), 30).any())


@pytest.mark.parametrize("values", [(-0.1, 10), (1.5, 10), (0.5, 0)])
def test_impossible_spans_are_refused(values: tuple[float, int]) -> None:
    with pytest.raises(InputError, match="masking: probability"):
        SpanMask(*values, always=True)
