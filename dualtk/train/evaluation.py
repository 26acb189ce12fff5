"""Validation: the losses of every pass and term on held-out data."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

from dualtk.data.batches import Batch
from dualtk.memory import enough_memory
from dualtk.train.distributed import World
from dualtk.trainable import StepLoss, Trainable

logger = logging.getLogger("dualtk")


@torch.no_grad()
def evaluate(objective: Trainable, loader: Iterable[Batch], world: World, step: int) -> dict[str, float]:
    """Means over the utterances of all processes: every named loss, and the total as "loss".

    Shards of validation data need not be of one length; every utterance counts once.
    An utterance whose features are not finite is left out, and named. So is one whose loss is not finite, but that
    stays in the means, which are then not finite either: what the network makes of good data is its own fault.
    """
    objective.module.eval()
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), device=world.device)
    for batch in loader:
        loss, weight = _losses(objective, batch.to(world.device), step)
        weight = weight if batch.share else 0
        count += weight
        for key, value in {**loss.parts, "loss": loss.total}.items():
            value = value.to(count) * weight if weight else torch.zeros_like(count)
            sums[key] = sums.get(key, torch.zeros_like(count)) + value
    return {key: float(world.mean(value) / world.mean(count.clone())) for key, value in sums.items()}


@torch.no_grad()
def try_batch(objective: Trainable, batch: Batch, world: World, step: int) -> None:
    """Validate a batch for nothing: InputError if memory cannot hold it."""
    objective.module.eval()
    _forward(objective, batch.to(world.device), step)


def _losses(objective: Trainable, batch: Batch, step: int) -> tuple[StepLoss, int]:
    """The losses of a batch, and of how many of its utterances they are the mean."""
    loss = _forward(objective, batch, step)
    if bool(torch.isfinite(loss.total)):
        return loss, len(batch.utterances)
    fine = torch.isfinite(batch.feats).flatten(1).all(1)
    if not bool(fine.all()):
        logger.warning("validation leaves out, for features that are not finite: %s", _names(batch, ~fine))
        batch = batch.select(fine)
        if not batch.utterances:
            return loss, 0
        loss = _forward(objective, batch, step)
    fine = torch.isfinite(loss.utterance_losses)
    if not bool(fine.all()):
        logger.warning("step %d: validation loss not finite; utterances: %s", step, _names(batch, ~fine))
    return loss, len(batch.utterances)


def _names(batch: Batch, chosen: Tensor) -> str:
    return " ".join(name for name, one in zip(batch.utterances, chosen.tolist()) if one)


def _forward(objective: Trainable, batch: Batch, step: int) -> StepLoss:
    frames = int(batch.feat_lengths.max())
    what = f"validation: utterance {batch.utterances[int(batch.feat_lengths.argmax())]} ({frames} frames)"
    if len(batch.utterances) > 1:
        what += f" and the {len(batch.utterances) - 1} of its batch do"
    else:
        what += " does"
    with enough_memory(f"{what} not fit", "leave it out of --dev-dir, cut it, or lower batches.max_frames"):
        return objective(batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, step)
