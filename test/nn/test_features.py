"""Normalisation and look-ahead, against loops over single frames."""

from __future__ import annotations

import pytest
import torch

from dualtk.nn.features import normalize, run_ahead


def test_frames_that_exist_are_normalised_and_the_others_are_zero() -> None:
    feats, lengths = torch.randn(3, 7, 4), torch.tensor([7, 3, 0])
    mean, istd = torch.randn(4), torch.rand(4) + 0.5
    normal = normalize(feats, lengths, mean, istd)
    for utterance, length in enumerate(lengths.tolist()):
        for frame in range(7):
            expected = (feats[utterance, frame] - mean) * istd if frame < length else torch.zeros(4)
            assert torch.equal(normal[utterance, frame], expected)


@pytest.mark.parametrize("num_frames", [0, 1, 6, 7, 20])
def test_each_frame_is_a_later_one_or_zero(num_frames: int) -> None:
    feats = torch.randn(2, 7, 4)
    ahead = run_ahead(feats, num_frames)
    assert ahead.shape == feats.shape
    for frame in range(7):
        later = frame + num_frames
        assert torch.equal(ahead[:, frame], feats[:, later] if later < 7 else torch.zeros(2, 4))
