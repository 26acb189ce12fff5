"""What the heads of a Transformer are, written out."""

from __future__ import annotations

import math
from typing import Any

import torch
from blocks import make_encoder
from torch import Tensor
from torch.nn import functional

from dualtk.modes import FULL_CONTEXT

DIM, HEADS, FRAMES = 16, 4, 8


def layer_norm(x: Tensor, norm: Any) -> Tensor:
    return functional.layer_norm(x, (DIM,), norm.weight, norm.bias, norm.eps)


def test_heads_are_what_each_head_adds_to_its_slice_of_the_input() -> None:
    """Kojima (2021), equation 7 and the sentence above it: after the residual connection, before the feed-forward.

    Without positions and output projection: norm, scaled dot-product attention head by head, sum.
    """
    torch.manual_seed(3)
    network = make_encoder(
        "transformer",
        input_dim=5,
        mode_names=["full"],
        dim=DIM,
        num_layers=2,
        num_heads=HEADS,
        feedforward_dim=24,
        dropout=0.0,
        positions="none",
        output_projection=False,
    ).eval()
    received: list[Tensor] = []
    for block in network.stack.blocks:
        block.register_forward_pre_hook(lambda _block, inputs: received.append(inputs[0]))
    feats, lengths = torch.randn(1, 3 * FRAMES, 5), torch.tensor([3 * FRAMES])
    output = network(feats, lengths, FULL_CONTEXT, return_heads=True)
    width = DIM // HEADS
    for block, x, hidden, heads in zip(network.stack.blocks, received, output.hidden, output.heads, strict=True):
        attention: Any = block.attention
        projected = functional.linear(
            layer_norm(x, attention.norm.norms["full"]), attention.input.weight, attention.input.bias
        )
        query, key, value = projected[0].split(DIM, dim=1)
        assert heads.shape == (1, HEADS, FRAMES, width)
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            weights = (query[:, own] @ key[:, own].T / math.sqrt(width)).softmax(1)
            torch.testing.assert_close(heads[0, head], x[0, :, own] + weights @ value[:, own], rtol=1e-4, atol=1e-5)
        attended = heads.transpose(1, 2).flatten(2)  # (B, H, T, E) -> (B, T, D)
        forward: Any = block.feedforward
        inner = functional.linear(
            layer_norm(attended, forward.norm.norms["full"]), forward.input.weight, forward.input.bias
        ).relu()
        last = attended + functional.linear(inner, forward.output.weight, forward.output.bias)
        torch.testing.assert_close(hidden, last, rtol=1e-4, atol=1e-5)
    assert network(feats, lengths, FULL_CONTEXT).heads == []
