"""The frames that are to be guessed, side by side, and how many they are."""

from __future__ import annotations

import torch

from dualtk.ssl.masking import MaskedFrames, mask_rate


def test_the_rate_counts_frames_that_exist() -> None:
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]]).bool()
    assert float(mask_rate(mask, torch.tensor([5, 3]))) == 0.5


def test_masked_frames_are_those_of_the_mask() -> None:
    mask = torch.tensor([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]).bool()
    frames = MaskedFrames.of(mask)
    assert frames.valid.sum(1).tolist() == [3, 0, 0, 2]  # one frame alone has nothing to be told from
    assert frames.index.tolist() == [[1, 2, 4], [0, 0, 0], [0, 0, 0], [0, 4, 0]]
    values = torch.arange(20.0).view(4, 5, 1)
    assert frames.take(values)[frames.valid].flatten().tolist() == [1, 2, 4, 15, 19]
