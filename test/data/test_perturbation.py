"""Voice perturbation against torchaudio's mel filters and against its own definition."""

from __future__ import annotations

import pytest
import torch
from peers import torchaudio

from dualtk.data.fbank import DEFAULT_OPTIONS
from dualtk.data.perturbation import VoicePerturbation, warped_bins


def test_a_warped_bin_is_where_torchaudio_s_filter_for_that_frequency_is() -> None:
    _, centres = torchaudio.compliance.kaldi.get_mel_banks(
        80, 512, 16000.0, DEFAULT_OPTIONS.low_frequency, DEFAULT_OPTIONS.high_frequency, 100.0, -500.0, 1.0
    )
    hertz = centres.squeeze(-1)
    source = warped_bins(torch.tensor([1.1, 0.9]), 80)
    for row, factor in zip(source, (1.1, 0.9)):
        for index in (20, 40, 60):
            after = int(torch.searchsorted(hertz, factor * hertz[index]))
            assert after - 1 <= row[index].item() <= after


def test_no_warp_reads_every_bin_from_itself() -> None:
    assert torch.allclose(warped_bins(torch.ones(1), 40), torch.arange(40.0).unsqueeze(0), atol=1e-3)


def test_a_peak_moves_by_the_factor_and_stays_within_its_bounds() -> None:
    torch.manual_seed(3)
    feats = torch.zeros(64, 5, 80)
    feats[:, :, 40] = 1.0
    moved = VoicePerturbation(0.1, 0.0)(feats, torch.full((64,), 5)).argmax(2)[:, 0]
    furthest = [(warped_bins(torch.tensor([factor]), 80)[0] - 40).abs().argmin().item() for factor in (1.1, 0.9)]
    assert furthest[0] <= moved.min() < 40 < moved.max() <= furthest[1]


def test_the_channel_is_one_smooth_curve_per_utterance_of_the_stated_size() -> None:
    torch.manual_seed(0)
    lengths = torch.full((500,), 4)
    lengths[0] = 2
    added = VoicePerturbation(0.0, 0.3)(torch.zeros(500, 4, 80), lengths)
    assert torch.equal(added[1:, 0], added[1:, 3])
    assert torch.equal(added[0, 2:], torch.zeros(2, 80))
    level = added[1:, 0].mean(1)  # the coefficient of order 0
    assert level.std().item() == pytest.approx(0.3, rel=0.1)
    assert torch.fft.rfft(torch.cat([added[1:, 0], added[1:, 0].flip(1)], 1)).abs()[:, 4:].max() < 1e-3


def test_equal_generators_give_equal_features_and_evaluation_changes_nothing() -> None:
    perturbation = VoicePerturbation(0.1, 0.2)
    feats, lengths = torch.randn(3, 20, 40), torch.tensor([20, 12, 1])
    torch.manual_seed(7)
    first = perturbation(feats, lengths)
    torch.manual_seed(7)
    assert torch.equal(first, perturbation(feats, lengths))
    assert not torch.equal(first, feats)
    assert torch.equal(perturbation.eval()(feats, lengths), feats)
