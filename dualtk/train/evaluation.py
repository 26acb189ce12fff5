"""Validation: the losses of every pass and term on held-out data."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dualtk.data.batches import Batch
from dualtk.train.distributed import World
from dualtk.trainable import Trainable


@torch.no_grad()
def evaluate(objective: Trainable, loader: Iterable[Batch], world: World, step: int) -> dict[str, float]:
    """Means over the utterances of all processes: every named loss, and the total as "loss".

    The objective is called itself, not through DDP's wrapper: shards of validation data need not be of one length.
    """
    objective.module.eval()
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), device=world.device)
    for batch in loader:
        batch = batch.to(world.device)
        loss = objective(batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, step)
        weight = len(batch.utterances)
        count += weight
        for key, value in {**loss.parts, "loss": loss.total}.items():
            sums[key] = sums.get(key, torch.zeros_like(count)) + value.to(count) * weight
    return {key: float(world.mean(value) / world.mean(count.clone())) for key, value in sums.items()}
