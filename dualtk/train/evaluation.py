"""Validation: the losses of every pass and term on held-out data, and the one that chooses checkpoints."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import torch
from torch import Tensor

from dualtk.data.batches import Batch
from dualtk.distill.teacher import TEACHER
from dualtk.objective import Objective, StepLoss
from dualtk.ssl.objective import Pretraining
from dualtk.train.distributed import World


@torch.no_grad()
def evaluate(objective: Objective | Pretraining, loader: Iterable[Batch], world: World, step: int) -> dict[str, float]:
    """Means over the utterances of all processes: every named loss, and the total as "loss".

    The objective is called itself, not through DDP's wrapper: shards of validation data need not be of one length.
    """
    objective.eval()
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), device=world.device)
    for batch in loader:
        batch = batch.to(world.device)
        loss: StepLoss = objective(batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, step)
        weight = len(batch.utterances)
        count += weight
        for key, value in {**loss.parts, "loss": loss.total}.items():
            sums[key] = sums.get(key, torch.zeros_like(count)) + value.to(count) * weight
    return {key: float(world.mean(value) / world.mean(count.clone())) for key, value in sums.items()}


def choice_loss(values: dict[str, float]) -> float:
    """What checkpoints are chosen by: the mean transducer loss of the passes that are decoded later; in pre-training
    the share of masked frames whose target was not told from the distractors. Its contrastive loss would not do: with
    a collapsed codebook all distractors equal the target and leave the sum, and the loss is 0.

    The total would also hold distillation terms, auxiliary losses and a co-learned teacher's loss, whose weights differ
    from system to system and grow during training; a network chosen by it would be compared with others by something
    else than what it is for. Without either it is the total.
    """
    own = [value for key, value in values.items() if key.endswith("/rnnt") and key != f"{TEACHER}/rnnt"]
    own += [1.0 - value for key, value in values.items() if key.endswith("/accuracy")]
    return statistics.fmean(own) if own else values["loss"]
