"""Long recordings: what is cut is decoded as if it were alone, whatever pieces it comes in and whoever is beside it."""

from __future__ import annotations

import pytest
import torch
from small_networks import MELS, RATE, small_transducer, speech
from torch import Tensor

from dualtk.data.fbank import fbank
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.streaming.endpoint import EndpointOptions
from dualtk.streaming.recording import LEAD, Passes, Recording, Utterance
from dualtk.streaming.session import StreamingDecoder

pytestmark = pytest.mark.slow

NETWORK = small_transducer()
GREEDY = SearchOptions().build(NETWORK, [])
MODE = streaming(left_context=6, chunk=2)
RULES = EndpointOptions(rule3_min_utterance_length=6.0)


def passes(first: Mode | None, second: Mode | None = None, beam: int = 1, rules: EndpointOptions = RULES) -> Passes:
    search = SearchOptions(beam=beam).build(NETWORK, [])
    return Passes(
        None if first is None else StreamingDecoder(NETWORK, first, search),
        None if second is None else WholeDecoder(NETWORK, second, search),
        rules,
        is_log=True,
    )


def talk(seed: int = 0, lengths: tuple[float, ...] = (1.5, 2.2, 0.9), pause: float = 1.0) -> Tensor:
    """Features of noisy sentences with pauses between them."""
    silence = 1e-3 * torch.randn(int(pause * RATE), generator=torch.Generator().manual_seed(seed))
    parts = [part for index, one in enumerate(lengths) for part in (speech(int(one * RATE), seed + index), silence)]
    return fbank(torch.cat(parts), RATE, MELS)


def decode(how: Passes, feats: Tensor, piece: int = 10**6) -> list[Utterance]:
    recording = Recording(how)
    for part in feats.split(piece):
        recording.push(part)
        how.advance([recording])
    recording.close()
    how.advance([recording])
    return recording.finished


def facts(utterances: list[Utterance]) -> list[tuple[object, ...]]:
    return [
        (one.start, len(one.feats), *(None if x is None else (x.tokens, x.frames) for x in (one.first, one.second)))
        for one in utterances
    ]


@pytest.mark.parametrize(("first", "second"), [(MODE, None), (MODE, FULL_CONTEXT), (None, FULL_CONTEXT)], ids=str)
@pytest.mark.parametrize("beam", [1, 3])
def test_an_utterance_is_decoded_as_if_it_were_alone(first, second, beam: int) -> None:
    feats = talk()
    how = passes(first, second, beam)
    found = decode(how, feats)
    spoken = [one for one in found if (one.first or one.second).tokens]
    assert len(spoken) >= 3
    for one in found:
        assert one.feats.equal(feats[one.start : one.start + len(one.feats)])
        for mode, hypothesis in ((first, one.first), (second, one.second)):
            if mode is not None and hypothesis is not None:
                whole = WholeDecoder(NETWORK, mode, how.second.search if how.second else how.first.search)
                (expected,) = whole.decode(one.feats.unsqueeze(0), torch.tensor([len(one.feats)]))
                assert hypothesis.tokens == expected[0].tokens
                # of two equally good paths to the same labels the last bit decides
                assert all(abs(x - y) <= (beam > 1) for x, y in zip(hypothesis.frames, expected[0].frames))


def test_utterances_cover_the_speech_and_do_not_overlap() -> None:
    found = decode(passes(MODE), talk())
    ends = [one.start + len(one.feats) for one in found]
    assert all(end <= after.start for end, after in zip(ends, found[1:]))
    for begin, end in ((0, 150), (250, 470), (570, 660)):  # where there is speech, in frames
        inside = sum(max(0, min(end, b) - max(begin, a.start)) for a, b in zip(found, ends))
        assert inside == end - begin
    assert found[1].start <= 250 - LEAD + 6


@pytest.mark.parametrize("how", [passes(MODE, FULL_CONTEXT), passes(None, FULL_CONTEXT)], ids=["two", "full"])
def test_pieces_of_any_size_give_the_same(how: Passes) -> None:
    feats = talk(3)
    expected = facts(decode(how, feats))
    for piece in (1, 7, 100):
        assert facts(decode(how, feats, piece)) == expected


def test_recordings_together_are_as_alone() -> None:
    how = passes(MODE, FULL_CONTEXT)
    several = [talk(seed) for seed in range(3)]
    recordings = [Recording(how) for _ in several]
    for start in range(0, max(map(len, several)), 50):
        for recording, feats in zip(recordings, several):
            recording.push(feats[start : start + 50])
        how.advance(recordings)
    for recording in recordings:
        recording.close()
    how.advance(recordings)
    assert [facts(one.finished) for one in recordings] == [facts(decode(how, feats)) for feats in several]


def test_speech_without_a_pause_is_cut_at_a_quiet_place_and_nothing_is_lost() -> None:
    feats = talk(1, (25.0,), 0.01)
    found = decode(passes(MODE), feats)
    assert len(found) >= 4
    assert max(len(one.feats) for one in found) <= 6.0 * 100 + 8
    assert torch.cat([one.feats for one in found]).equal(feats)


def test_what_is_kept_does_not_grow() -> None:
    how = passes(MODE, FULL_CONTEXT)
    recording, sizes = Recording(how), []
    for seed in range(12):
        for part in talk(seed).split(50):
            recording.push(part)
            how.advance([recording])
            recording.finished.clear()
            sizes.append(recording._frames.end - recording._frames.first)
    assert max(sizes) <= 6.0 * 100 + 50 + 8


def test_silence_is_not_decoded() -> None:
    how = passes(MODE)
    recording = Recording(how)
    recording.push(fbank(1e-3 * torch.randn(20 * RATE, generator=torch.Generator().manual_seed(0)), RATE, MELS))
    how.advance([recording])
    assert sum(len(one.feats) for one in recording.finished) < 300
    assert recording.start > 1500


def test_a_recording_that_begins_with_silence_begins_with_its_speech() -> None:
    feats = torch.cat([fbank(1e-3 * torch.randn(2 * RATE), RATE, MELS), talk()])
    found = decode(passes(MODE, FULL_CONTEXT), feats)
    assert 200 - LEAD <= found[0].start <= 200


def test_no_utterance_begins_with_frames_of_no_signal() -> None:
    zeros, spoken = torch.zeros(3 * RATE), speech(2 * RATE)
    feats = fbank(torch.cat([zeros, spoken, zeros, spoken, zeros]), RATE, MELS)
    for piece in (10**6, 1, 33):
        found = decode(passes(MODE, FULL_CONTEXT), feats, piece)
        assert [one.start for one in found] == [299, 799]
        assert all(int(one.feats.isclose(one.feats.min()).all(1).sum()) <= 45 for one in found)


def test_without_endpoints_a_recording_is_one_utterance() -> None:
    feats = talk()
    (found,) = decode(passes(MODE, rules=EndpointOptions(enabled=False)), feats)
    assert (found.start, len(found.feats)) == (0, len(feats))


class SilentAfterFirst:
    """A second pass that gives one label, as a network does that expects nothing after a sentence."""

    def decode(self, feats: Tensor, lengths: Tensor) -> object:
        whole = WholeDecoder(NETWORK, FULL_CONTEXT, GREEDY).decode(feats, lengths)
        (found,) = whole
        for values in (found[0].tokens, found[0].frames, found[0].log_probs):
            del values[1:]
        return whole


def test_speech_after_the_last_label_is_decoded_once_more() -> None:
    how = passes(None, FULL_CONTEXT, rules=EndpointOptions(rule3_min_utterance_length=100.0, min_pause=50.0))
    how.second = SilentAfterFirst()  # type: ignore[assignment]
    (found, *_) = decode(how, talk(2, (8.0,), 0.01))
    assert found.second is not None
    assert len(found.second.tokens) > 2
    assert found.second.frames == sorted(set(found.second.frames))
