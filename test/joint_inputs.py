"""Random inputs of a joint, and the logits that it would hold."""

from __future__ import annotations

import torch

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda x: x}


def random_inputs(batch, width=8, vocabulary=6, seed=0, dtype=torch.float32, layer=True):
    generator = torch.Generator().manual_seed(seed)
    num, frames, positions = batch.logits.shape[:3]
    shapes = [(num, frames, width), (num, positions, width), *([(vocabulary, width), (vocabulary,)] if layer else [])]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def full_logits(inputs, activation, ranges=None):
    encoder, predictor, *layer = inputs
    if ranges is None:
        total = encoder.unsqueeze(2) + predictor.unsqueeze(1)
    else:
        rows = torch.arange(len(encoder)).view(-1, 1, 1)
        total = encoder.unsqueeze(2) + predictor[rows, ranges]
    hidden = ACTIVATIONS[activation](total)
    return torch.nn.functional.linear(hidden, *layer) if layer else hidden


def make_cells(batch):
    """(B, T, U + 1) the cells of the utterances."""
    frames, positions = batch.logits.shape[1:3]
    inside = torch.arange(frames).view(1, -1, 1) < batch.logit_lengths.view(-1, 1, 1)
    return inside & (torch.arange(positions) <= batch.target_lengths.view(-1, 1, 1))
