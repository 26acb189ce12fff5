"""Greedy CTC search against its definition: the best of all paths, collapsed, whole or chunk by chunk."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
import torch
from small_networks import MELS, RATE, small_transducer, speech
from torch import Tensor

from dualtk.data.fbank import fbank
from dualtk.data.stream import FbankStream
from dualtk.modes import streaming
from dualtk.search.ctc import CTCGreedySearch, CTCStream
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.session import StreamingDecoder
from dualtk.transducer.ctc import CTCHead

DIM, VOCABULARY = 6, 5


def make_head(seed: int = 0, scale: float = 3.0, dim: int = DIM, vocabulary: int = VOCABULARY) -> CTCHead:
    torch.manual_seed(seed)
    head = CTCHead(dim, vocabulary)
    with torch.no_grad():
        head.output.weight.copy_(scale * torch.randn(vocabulary, dim))
    return head.eval()


def random_frames(batch: int = 4, frames: int = 29, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Frames (B, T, D) that change slowly, so that labels last, and lengths; one of them is zero."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    lengths[0], lengths[-1] = frames, 0
    slow = torch.randn(batch, frames // 2 + 1, DIM, generator=generator).repeat_interleave(2, 1)[:, :frames]
    return slow + 0.2 * torch.randn(batch, frames, DIM, generator=generator), lengths


def by_definition(log_probs: Tensor) -> Hypothesis:
    """(T, V): runs of equal best classes, each at its first frame, without blanks."""
    best, classes = log_probs.max(1)
    found = Hypothesis(score=sum(best.tolist()))
    for token, run in itertools.groupby(enumerate(classes.tolist()), key=lambda pair: pair[1]):
        frame = next(run)[0]
        if token != 0:
            found.append(token, frame, best[frame].item())
    return found


def search(head: CTCHead, frames: Tensor, lengths: Tensor, size: int | None = None) -> list[Hypothesis]:
    searching: Search[CTCStream] = CTCGreedySearch(head)
    streams = searching.start(len(frames))
    for start in range(0, frames.shape[1], size or frames.shape[1]):
        chunk = frames[:, start : start + (size or frames.shape[1])]
        searching.advance(chunk, (lengths - start).clamp(0, chunk.shape[1]), streams)
    return [searching.nbest(stream, final=True)[0] for stream in streams]


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_is_what_the_definition_says(seed: int) -> None:
    head, (frames, lengths) = make_head(seed), random_frames(seed=seed)
    found = search(head, frames, lengths)
    with torch.no_grad():
        for one, row, length in zip(found, frames, lengths.tolist()):
            assert one == by_definition(head(row[:length].unsqueeze(0))[0])
    assert len({token for one in found for token in one.tokens}) > 2
    assert found[-1] == Hypothesis()


def test_equal_labels_are_two_only_with_a_blank_between() -> None:
    log_probs = torch.full((7, 3), -9.0)
    for frame, token in enumerate([1, 1, 0, 1, 2, 2, 1]):
        log_probs[frame, token] = 0.0
    head = CTCHead(3, 3)
    with torch.no_grad():
        head.output.weight.copy_(torch.eye(3))
        head.output.bias.zero_()
    (found,) = search(head, log_probs.unsqueeze(0), torch.tensor([7]))
    assert (found.tokens, found.frames) == ([1, 1, 2, 1], [0, 3, 4, 6])


def test_no_path_is_better() -> None:
    head, (frames, _) = make_head(3, scale=0.5), random_frames(1, 6, seed=3)
    (found,) = search(head, frames[:1, :6], torch.tensor([6]))
    with torch.no_grad():
        log_probs = head(frames)[0]
    scores = {
        path: sum(log_probs[t, token].item() for t, token in enumerate(path))
        for path in itertools.product(range(VOCABULARY), repeat=6)
    }
    best = max(scores, key=lambda path: scores[path])
    assert found.score == pytest.approx(scores[best])
    assert found.tokens == [token for token, _ in itertools.groupby(best) if token != 0]


@pytest.mark.parametrize("size", [1, 2, 5, 28])
def test_pieces_give_what_the_whole_gives(size: int) -> None:
    head, (frames, lengths) = make_head(1), random_frames(seed=1)
    for one, whole in zip(search(head, frames, lengths, size), search(head, frames, lengths)):
        assert (one.tokens, one.frames) == (whole.tokens, whole.frames)
        assert one.log_probs == pytest.approx(whole.log_probs, abs=1e-5)
        assert one.score == pytest.approx(whole.score, abs=1e-4)


def test_a_saved_stream_goes_on_where_it_was() -> None:
    """A label that lasts across the break is not said twice."""
    head, (frames, _) = make_head(2), random_frames(1, seed=2)
    (whole,) = search(head, frames, torch.tensor([29]))
    searching = CTCGreedySearch(head)
    for cut in range(30):
        (stream,) = searching.start(1)
        searching.advance(frames[:, :cut], torch.tensor([cut]), [stream])
        buffer = io.BytesIO()
        torch.save(searching.save(stream), buffer)
        buffer.seek(0)
        again = searching.restore(torch.load(buffer, weights_only=True))
        searching.advance(frames[:, cut:], torch.tensor([29 - cut]), [again])
        assert (again.hypothesis.tokens, again.hypothesis.frames) == (whole.tokens, whole.frames)
        assert stream.num_frames == cut


def test_a_stream_of_audio_equals_the_whole_utterance() -> None:
    network: Any = small_transducer()
    mode = streaming(left_context=4, chunk=4, look_ahead_ms=60)
    samples = speech(9345)
    feats = fbank(samples, RATE, MELS).unsqueeze(0)
    lengths = torch.tensor([feats.shape[1]])
    head = make_head(5, dim=network.encoder.output_dim)
    with torch.no_grad():
        encoded = network.encode(network.normalize(feats, lengths), lengths, mode)
        head.output.weight.div_(encoded.frames[0].std(0).clamp(min=1e-3))  # it reads what changes in the frames
        head.output.bias.copy_(-head.output.weight @ encoded.frames[0].mean(0))
    ((expected,),) = WholeDecoder(network, mode, CTCGreedySearch(head)).decode(feats, lengths)
    decoder = StreamingDecoder(network, mode, CTCGreedySearch(head))
    assert len(set(expected.tokens)) > 1
    for size in (331, 9345):
        session = decoder.open(FbankStream(MELS))
        for piece in samples.split(size):
            session.accept(piece, RATE)
        found = session.finish()
        assert (found.tokens, found.frames) == (expected.tokens, expected.frames)
        assert found.score == pytest.approx(expected.score, abs=1e-2)
