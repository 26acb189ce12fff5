"""Layers that are computed again in the backward pass: the same numbers, and less that is kept for it."""

from __future__ import annotations

import pytest
import torch
from blocks import make_encoder
from torch import Tensor, nn

from dualtk.modes import FULL_CONTEXT, streaming

KINDS: dict[str, dict[str, object]] = {
    "lstm": {"dim": 12, "num_layers": 3, "dropout": 0.2, "time_reduction_layer": 1},
    "contextnet": {"alpha": 0.05, "layers_per_block": 3, "dropout": 0.2},
}


def run(kind: str, checkpoint: bool) -> tuple[list[Tensor], int]:
    """Frames of two modes, gradients and buffers; and the bytes that the backward pass finds kept."""
    torch.manual_seed(5)
    network: nn.Module = make_encoder(kind, 20, gradient_checkpointing=checkpoint, **KINDS[kind]).train()
    feats, lengths = torch.randn(2, 96, 20), torch.tensor([96, 61])
    torch.manual_seed(6)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        full = network(feats, lengths, FULL_CONTEXT).frames
        other = network(feats, lengths, streaming(2, chunk=2)).frames
        total = full.square().mean() + other.square().mean()
    total.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(network.parameters()))
    return [full, other, *gradients, *network.buffers()], sum(kept.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_with_less_kept(kind: str) -> None:
    plain, most = run(kind, checkpoint=False)
    checkpointed, least = run(kind, checkpoint=True)
    torch.testing.assert_close(checkpointed, plain, rtol=0.0, atol=0.0)
    assert least < 0.7 * most
