"""One optimiser step: forward, backward, and leaving the network alone where something is not finite."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dualtk.config import TrainConfig
from dualtk.data.batches import Batch
from dualtk.errors import InputError
from dualtk.objective import Objective, StepLoss
from dualtk.ssl.objective import Pretraining
from dualtk.train.distributed import World
from dualtk.train.freezing import Freezing
from dualtk.train.meter import Meter
from dualtk.train.optim import Schedule
from dualtk.train.position import Position

logger = logging.getLogger("dualtk")


class Stepper:
    """Takes optimiser steps on an objective.

    Args:
        objective: what a step minimises.
        freezing: the parts of its network that wait.
        optimizer, schedule: how.
        section: the `train` section of the configuration.
        world: this process among others.
        meter: is given what each batch found.
    """

    def __init__(
        self,
        objective: Objective | Pretraining,
        freezing: Freezing,
        optimizer: Optimizer,
        schedule: Schedule,
        section: TrainConfig,
        world: World,
        meter: Meter,
    ) -> None:
        self.objective = objective
        self.freezing = freezing
        self._wrapped: nn.Module | None = None
        self._wrapped_for: tuple[bool, int] | None = None
        self.optimizer = optimizer
        self.schedule = schedule
        self.section = section
        self.world = world
        self.meter = meter
        self.scaler = torch.amp.grad_scaler.GradScaler(world.device.type, enabled=section.precision == "float16")

    def take(self, batches: Sequence[Batch], position: Position) -> bool:
        """One step on the mean loss of `batches`; False when it was skipped for something not finite."""
        # Dropout and masks follow from (seed, step, rank) alone, so that no generator's state needs to be kept.
        torch.manual_seed((self.section.seed * self.world.size + self.world.rank) * 1_000_003 + position.step)
        if self.objective.pruner is not None:
            self.objective.pruner.update(position.step)
        self.freezing.apply(position.step)
        rate = self.schedule(position.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        wrapped = self._wrap(position.step).train()
        # Norm statistics move in the forward pass, before it is known whether the step counts.
        buffers = {name: buffer.clone() for name, buffer in self.objective.named_buffers()}
        for index, batch in enumerate(batches):
            with _sync(wrapped, last=index == len(batches) - 1):
                loss = self._forward(wrapped, batch, position.step)
                if self.world.any(not bool(torch.isfinite(loss.total))):
                    return self._skip(batch, loss, buffers, position)
                torch.autograd.backward(self.scaler.scale(loss.total / len(batches)))
            self.meter.add({**loss.parts, "loss": loss.total.detach()}, int(batch.feat_lengths.sum()))
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.section.clip_norm)
        if self.section.precision != "float16" and not bool(torch.isfinite(norm)):
            return self._skip(batches[-1], loss, buffers, position)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        position.step += 1
        position.bad_steps = 0
        self.meter.add({"gradient_norm": norm})
        return True

    def _wrap(self, step: int) -> nn.Module:
        """The objective, under DDP with several processes.

        It is wrapped anew where steps begin or cease to draw passes, and where parameters are no longer held: DDP
        gathers the gradients of those that wanted one when it was made.
        """
        drawing = self.objective.plan.draws(step)
        wanted = drawing, self.freezing.held(step)
        if self._wrapped is None or wanted != self._wrapped_for:
            self._wrapped = None  # an old DDP would go on gathering gradients
            self._wrapped, self._wrapped_for = self.world.wrap(self.objective, find_unused=drawing), wanted
        return self._wrapped

    def _forward(self, wrapped: nn.Module, batch: Batch, step: int) -> StepLoss:
        batch = batch.to(self.world.device)
        kind = torch.float16 if self.section.precision == "float16" else torch.bfloat16
        with torch.autocast(self.world.device.type, dtype=kind, enabled=self.section.precision != "float32"):
            loss: StepLoss = wrapped(batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, step)
        return loss

    def _skip(self, batch: Batch, loss: StepLoss, buffers: dict[str, Tensor], position: Position) -> bool:
        """Leave the network as it was and say whose loss it was; give up when it goes on."""
        for name, buffer in self.objective.named_buffers():
            buffer.copy_(buffers[name])
        # One bad input can spoil its whole batch through batch statistics, so features are asked before losses.
        fine = torch.isfinite(batch.feats).flatten(1).all(1)
        if bool(fine.all()):
            fine = torch.isfinite(loss.utterance_losses)
        at_fault = [name for name, good in zip(batch.utterances, fine.tolist()) if not good] or batch.utterances
        position.bad_steps += 1
        line = f"step {position.step}: loss or gradient not finite, step skipped; utterances: {' '.join(at_fault)}"
        logger.warning(line)
        if position.bad_steps >= self.section.max_bad_steps:
            raise InputError(f"{position.bad_steps} steps in a row without a finite loss; {line}")
        return False


def _sync(wrapped: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients travel between processes with the last batch of a step only."""
    if last or not isinstance(wrapped, DistributedDataParallel):
        return contextlib.nullcontext()
    return wrapped.no_sync()
