"""The convolution over positions against torchaudio's and against the taps that a mode leaves."""

from __future__ import annotations

import pytest
import torch
from peers import torchaudio
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.nn.position_convolution import PositionConvolution

DIM, GROUPS = 12, 3
STREAMING = streaming(left_context=4, chunk=3)


@pytest.mark.parametrize("kernel", [1, 7, 8, 64])
@torch.no_grad()
def test_full_context_is_torchaudios(kernel: int) -> None:
    theirs = torchaudio.models.wav2vec2.components.ConvolutionalPositionalEmbedding(DIM, kernel, GROUPS)
    ours = PositionConvolution(DIM, kernel, GROUPS)
    ours.weight.copy_(theirs.conv.weight)
    ours.bias.copy_(theirs.conv.bias)
    x = torch.randn(2, 20, DIM)
    torch.testing.assert_close(ours(x, FULL_CONTEXT), x + theirs(x))


@pytest.mark.parametrize("kernel", [1, 7, 8])
def test_streaming_masks_the_taps_ahead(kernel: int) -> None:
    layer = PositionConvolution(DIM, kernel, GROUPS)
    x = torch.randn(2, 20, DIM)
    mask = (torch.arange(kernel) <= layer.left_frames).float()
    frames = F.pad(x.transpose(1, 2), (kernel // 2, (kernel - 1) // 2))  # (B, T, D) -> (B, D, T)
    masked = F.gelu(F.conv1d(frames, layer.weight * mask, layer.bias, groups=GROUPS)).transpose(1, 2)
    torch.testing.assert_close(layer(x, STREAMING), x + masked)


@pytest.mark.parametrize("chunk", [1, 3, 20])
@torch.no_grad()
def test_chunk_by_chunk_equals_the_whole(chunk: int) -> None:
    layer = PositionConvolution(DIM, 8, GROUPS)
    torch.nn.init.normal_(layer.bias)
    x, left, frames = torch.randn(2, 60, DIM), torch.zeros(2, layer.left_frames, DIM), []
    for part in x.split(chunk, dim=1):
        output, left = layer.step(part, left, STREAMING)
        assert left.shape == (2, 4, DIM)
        frames.append(output)
    torch.testing.assert_close(torch.cat(frames, dim=1), layer(x, STREAMING))


@pytest.mark.parametrize("mode", [FULL_CONTEXT, STREAMING], ids=lambda mode: mode.name)
def test_the_gradient_lies_in_memory_like_the_weight(mode: object) -> None:
    layer = PositionConvolution(DIM, 8, GROUPS)
    (gradient,) = torch.autograd.grad(layer(torch.randn(2, 20, DIM), mode).sum(), layer.weight)
    assert gradient.stride() == layer.weight.stride()


def test_groups_divide_the_width() -> None:
    with pytest.raises(InputError, match="position_groups: 16 groups do not divide a dim of 12"):
        PositionConvolution(DIM, 8, 16)
