"""Subsampling against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.nn.subsampling import ConvSubsampling, make_subsampling, stack_frames


@pytest.mark.parametrize(("input_dim", "factor"), [(80, 4), (13, 4), (80, 8), (13, 8)])
def test_convolutions_are_torchs_with_one_frame_on_the_left(input_dim: int, factor: int) -> None:
    torch.manual_seed(0)
    layer = ConvSubsampling(input_dim, 6, 10, factor)
    feats = torch.randn(2, 24, input_dim)
    picture = feats.unsqueeze(1)  # (B, T, F) -> (B, 1, T, F)
    for convolution in layer.convolutions:
        padded = F.pad(picture, (1, 1, 1, 0))
        picture = F.relu(F.conv2d(padded, convolution.weight, convolution.bias, stride=2))
    expected = layer.output(picture.permute(0, 2, 3, 1).flatten(2))  # (B, C, T, F) -> (B, T, F, C)
    torch.testing.assert_close(layer(feats), expected, atol=1e-5, rtol=1e-5)
    assert layer(feats).shape == (2, 24 // factor, 10)


def test_stacking_keeps_the_oldest_frame_first() -> None:
    frames = torch.arange(12.0).view(1, 6, 2)
    assert stack_frames(frames, 3).tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]]


def test_convolution_subsampling_is_by_four_or_eight() -> None:
    with pytest.raises(InputError, match="subsampling_factor"):
        make_subsampling("convolution", input_dim=8, output_dim=4, channels=2, factor=3)
