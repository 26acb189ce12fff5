"""The masked layer: dense where no mask is set, masked in the mode that the mask belongs to."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.nn.masked import MaskedLinear

STREAMING = streaming()


def test_masked_linear_masks_the_sparse_mode_only() -> None:
    torch.manual_seed(0)
    layer = MaskedLinear(4, 3)
    sparse = streaming(sparsity=0.5)
    x = torch.randn(2, 4)
    dense = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x, sparse), dense)  # no mask yet
    mask = torch.rand(3, 4) > 0.5
    layer.set_mask("streaming", mask)
    torch.testing.assert_close(layer(x, sparse), F.linear(x, layer.weight * mask, layer.bias))
    for mode in (FULL_CONTEXT, STREAMING):
        torch.testing.assert_close(layer(x, mode), dense)
    # Recomputed after the mask would be gone if it were not a buffer; a masked weight has no gradient.
    checkpoint(layer, x, sparse, use_reentrant=False).square().sum().backward()
    assert layer.weight.grad is not None
    assert (layer.weight.grad[~mask] == 0).all()
    layer.set_mask("streaming", None)
    torch.testing.assert_close(layer(x, sparse), dense)
    with pytest.raises(ValueError, match="bool"):
        layer.set_mask("streaming", mask.float())


def test_masks_travel_with_a_checkpoint() -> None:
    source, target = MaskedLinear(4, 3), nn.Sequential(MaskedLinear(4, 3))
    source.set_mask("streaming", torch.rand(3, 4) > 0.5)
    target.load_state_dict({f"0.{name}": value for name, value in source.state_dict().items()})
    x, sparse = torch.randn(2, 4), streaming(sparsity=0.5)
    torch.testing.assert_close(target[0](x, sparse), source(x, sparse))


def test_straight_through_gives_the_same_output_and_the_dense_gradient() -> None:
    torch.manual_seed(0)
    layer, sparse = MaskedLinear(6, 5), streaming(sparsity=0.5)
    layer.set_mask("streaming", torch.rand(5, 6) > 0.5)
    x, target = torch.randn(3, 6), torch.randn(3, 5)
    plain = layer(x, sparse)
    layer.straight_through = True
    output = layer(x, sparse)
    assert torch.equal(output, plain)
    (output * target).sum().backward()
    torch.testing.assert_close(layer.weight.grad, target.T @ x)


def test_a_mask_changes_in_place() -> None:
    """Processes share the buffers that there are."""
    layer = MaskedLinear(4, 3)
    layer.set_mask("streaming", torch.ones(3, 4, dtype=torch.bool))
    before = layer.mask("streaming")
    layer.set_mask("streaming", torch.zeros(3, 4, dtype=torch.bool))
    assert layer.mask("streaming") is before
    assert before is not None
    assert not before.any()
