"""Which frames are speech, and what is kept of a recording."""

from __future__ import annotations

import pytest
import torch
from small_networks import MELS, RATE, speech

from dualtk.data.fbank import fbank
from dualtk.streaming.activity import Frames, SpeechActivity, energy, quietest


def bursts(background: float, loudness: float = 0.3) -> torch.Tensor:
    """One second of background, two of louder noise, one of background, and so on for nine seconds."""
    generator = torch.Generator().manual_seed(5)
    level = torch.full((9 * RATE,), background)
    for second in (1, 2, 4, 5, 7):
        level[second * RATE : (second + 1) * RATE] = loudness
    return level * torch.randn(9 * RATE, generator=generator).clamp(-3, 3)


@pytest.mark.parametrize("background", [0.0, 1e-4, 3e-3, 0.03])
def test_speech_is_what_stands_out(background: float) -> None:
    found = SpeechActivity().accept(energy(fbank(bursts(background), RATE, MELS), is_log=True))
    for second in range(9):
        inside = found[second * 100 + 20 : second * 100 + 90]
        assert bool(inside.all() if second in (1, 2, 4, 5, 7) else (~inside).all()), second


def test_samples_have_the_same_speech() -> None:
    audio = bursts(1e-3)
    found = SpeechActivity().accept(energy(audio.view(-1, 160), is_log=False))
    assert bool(found[120:290].all())
    assert not found[320:390].any()


def test_silence_and_a_hum_are_no_speech() -> None:
    for audio in (torch.zeros(2 * RATE), 1e-4 * torch.sin(torch.arange(2 * RATE) * 0.05)):
        assert not SpeechActivity().accept(energy(fbank(audio, RATE, MELS), is_log=True)).any()


def test_pieces_of_any_size_are_one_recording() -> None:
    energies = energy(fbank(speech(4 * RATE), RATE, MELS), is_log=True)
    whole, pieces = SpeechActivity(), SpeechActivity()
    assert torch.cat([pieces.accept(part) for part in energies.split(7)]).equal(whole.accept(energies))


def test_the_quietest_place() -> None:
    energies = torch.full((100,), 20.0)
    energies[37] = -50.0  # one frame is no pause
    energies[60:75] = -5.0
    assert 63 <= quietest(energies) <= 72
    assert quietest(torch.zeros(50)) == 49
    assert quietest(torch.zeros(0)) == 0


def test_frames_keep_their_numbers() -> None:
    feats = torch.arange(50.0).unsqueeze(1)
    frames = Frames(1, is_log=True)
    frames.append(feats[:30])
    frames.forget(12)
    frames.append(feats[30:])
    frames.forget(5)  # long gone
    assert (frames.first, frames.end) == (12, 50)
    part = frames.part(20, 40)
    assert part.feats.flatten().tolist() == list(range(20, 40))
    assert len(part) == len(part.energies) == len(part.is_speech) == 20
