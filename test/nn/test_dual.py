"""Dual layers against what they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.nn.dual import DualConv1d, DualNorm, DualPool

STREAMING = streaming()


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (15, 1), (3, 2), (5, 2), (5, 3)])
def test_streaming_convolution_is_a_causal_convolution(kernel: int, stride: int) -> None:
    """The kernel times a tap mask, and a causal convolution of (k + 1)/2 taps: one and the same."""
    torch.manual_seed(0)
    layer = DualConv1d(6, kernel, stride)
    x = torch.randn(2, 30, 6, requires_grad=True)
    output = layer(x, STREAMING)
    taps = (kernel + 1) // 2
    mask = (torch.arange(kernel) < taps).float()
    channels_first = x.transpose(1, 2)  # (B, T, D) -> (B, D, T)
    masked = F.conv1d(
        F.pad(channels_first, ((kernel - 1) // 2, (kernel - 1) // 2)), layer.weight * mask, layer.bias, groups=6
    )
    causal = F.conv1d(F.pad(channels_first, (taps - 1, 0)), layer.weight[:, :, :taps], layer.bias, groups=6)
    for expected in (masked, causal):
        # Strided: the centre of output t is the newest of its inputs.
        torch.testing.assert_close(output, expected.transpose(1, 2)[:, stride - 1 :: stride])
    gradients = torch.autograd.grad(output.square().sum(), [x, layer.weight], retain_graph=True)
    expected_gradients = torch.autograd.grad(
        causal[:, :, stride - 1 :: stride].square().sum(), [x, layer.weight], retain_graph=True
    )
    torch.testing.assert_close(gradients, expected_gradients)
    assert (gradients[1][:, :, taps:] == 0).all()


@pytest.mark.parametrize(("kernel", "stride"), [(15, 1), (5, 2)])
def test_full_convolution_is_symmetric(kernel: int, stride: int) -> None:
    layer = DualConv1d(4, kernel, stride)
    x = torch.randn(2, 20, 4)
    expected = F.conv1d(x.transpose(1, 2), layer.weight, layer.bias, padding=kernel // 2, groups=4)
    torch.testing.assert_close(layer(x, FULL_CONTEXT), expected.transpose(1, 2)[:, stride - 1 :: stride])


def test_convolution_refuses_what_is_not_dual() -> None:
    with pytest.raises(InputError, match="odd"):
        DualConv1d(4, 32)
    with pytest.raises(InputError, match="stride"):
        DualConv1d(4, 3, stride=4)


def test_pool_is_a_masked_mean_or_a_running_mean() -> None:
    x, mask = torch.randn(2, 7, 3), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    pool = DualPool()
    full = pool(x, mask, FULL_CONTEXT)
    torch.testing.assert_close(full[0, 0], x[0].mean(0))
    torch.testing.assert_close(full[1, 0], x[1, :4].mean(0))
    running = pool(x, mask, STREAMING)
    for frame in range(7):
        torch.testing.assert_close(running[0, frame], x[0, : frame + 1].mean(0))


def test_pool_of_an_endless_stream_keeps_a_bounded_count() -> None:
    pool = DualPool()
    total, count = torch.full((1, 1, 1), 3.0 * pool.MAX_COUNT), torch.full((1, 1, 1), pool.MAX_COUNT)
    for _ in range(10):
        mean, total, count = pool.step(torch.full((1, 1000, 1), 5.0), total, count)
    assert count.item() == pool.MAX_COUNT
    assert 3.0 < mean[0, -1, 0].item() < 5.0


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_counts_frames_that_exist_only(training: bool) -> None:
    torch.manual_seed(0)
    x, mask = 3 + 2 * torch.randn(3, 9, 5), torch.ones(3, 9, dtype=torch.bool)
    mask[1, 6:] = False
    mask[2, 1:] = False
    ours, theirs = DualNorm("batch", 5, ["full", "streaming"]).train(training), nn.BatchNorm1d(5).train(training)
    for _ in range(3):
        output = ours(x.masked_fill(~mask.unsqueeze(2), 1e6), FULL_CONTEXT, mask)
        torch.testing.assert_close(output[mask], theirs(x[mask]), atol=1e-5, rtol=1e-5)
    norm = ours.norms["full"]
    torch.testing.assert_close(norm.running_mean, theirs.running_mean)
    torch.testing.assert_close(norm.running_var, theirs.running_var)
    assert (ours.norms["streaming"].running_mean == 0).all()


def test_batch_norm_ignores_a_batch_without_frames() -> None:
    norm = DualNorm("batch", 5, ["full"])
    assert torch.isfinite(norm(torch.randn(2, 3, 5), FULL_CONTEXT, torch.zeros(2, 3, dtype=torch.bool))).all()
    assert (norm.norms["full"].running_mean == 0).all()
    assert (norm.norms["full"].running_var == 1).all()
