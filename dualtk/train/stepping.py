"""One optimiser step: forward, backward, and leaving the network alone where something is not finite."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from dualtk.data.batches import Batch
from dualtk.errors import InputError
from dualtk.memory import enough_memory
from dualtk.options import Section, Unit
from dualtk.train.distributed import World
from dualtk.train.freezing import Freezing
from dualtk.train.initial import InitOptions
from dualtk.train.meter import Meter
from dualtk.train.optim import OptimizerOptions, ScheduleOptions
from dualtk.train.progress import Progress
from dualtk.train.weight_noise import WeightNoise, WeightNoiseOptions
from dualtk.trainable import StepLoss, Trainable

logger = logging.getLogger("dualtk")


class TrainOptions(Section):
    """The loop. With `max_steps: 0` the network of `init` is masked, validated and left so."""

    max_steps: Annotated[NonNegativeInt, Unit("steps")] = 100000
    """Optimiser steps of the whole training. This and all other steps may be counted in epochs, as `60 epochs`, and
    others in percent of it, as `30 %`."""
    least_steps: Annotated[NonNegativeInt, Unit("steps")] = 0
    """What `max_steps` is at least, where it is counted in epochs: a small corpus has short ones."""
    accumulate: Annotated[PositiveInt, Unit("batches")] = 1
    """Batches of one step."""
    clip_norm: PositiveFloat = 5.0
    """Gradients are scaled down to this norm where their own is larger, those of a co-learned teacher by themselves."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass. Losses are always in float32; in half precision a GPU multiplies their matrices as TF32."""
    validate_every: Annotated[PositiveInt, Unit("steps")] = 2000
    """Between two validations."""
    max_valid_utterances: Annotated[PositiveInt | None, Unit("utterances")] = None
    """Most utterances of the dev set that a validation reads, spread evenly over it; null for all."""
    save_every: Annotated[PositiveInt, Unit("steps")] = 500
    """Between two training states on disk."""
    average_best: Annotated[PositiveInt, Unit("checkpoints")] = 5
    """Best networks that are kept and averaged."""
    max_bad_steps: Annotated[PositiveInt, Unit("steps")] = 20
    """Steps in a row with a loss or gradient that is not finite, after which training gives up."""
    weight_noise: WeightNoiseOptions | None = None
    """Variational noise on weights; null for none."""
    log_every: Annotated[PositiveInt, Unit("steps")] = 50
    """Between two lines of the log."""
    seed: NonNegativeInt = 1
    """Of weights, batches, dropout and masks."""


class StepOptions(Protocol):
    """The sections that a step reads."""

    @property
    def train(self) -> TrainOptions:
        """The loop."""
        ...

    @property
    def optimizer(self) -> OptimizerOptions:
        """The optimiser."""
        ...

    @property
    def schedule(self) -> ScheduleOptions:
        """The learning rate of each step."""
        ...

    @property
    def init(self) -> InitOptions | None:
        """What the network begins with, and which parts of it are held."""
        ...


class Stepper:
    """Takes optimiser steps on an objective.

    Args:
        objective: what a step minimises, on the device of `world`.
        options: how.
        world: this process among others.
    """

    def __init__(self, objective: Trainable, options: StepOptions, world: World) -> None:
        self.objective = objective
        self.options = options.train
        self.world = world
        self.meter = Meter()
        self.freezing = Freezing(objective.networks()[""], [] if options.init is None else options.init.freeze)
        self.noise = WeightNoise(objective.networks()[""], options.train.weight_noise, options.train.seed)
        self.optimizer = options.optimizer.build(objective.module.named_parameters())
        self.schedule = options.schedule.build(options.train.max_steps)
        if world.device.type == "cuda" and self.options.precision != "float32":
            torch.set_float32_matmul_precision("high")  # of the joint, which autocast leaves in float32
        self.scaler = torch.amp.grad_scaler.GradScaler(world.device.type, enabled=self.options.precision == "float16")
        self._is_shared = False

    def take(self, batches: Sequence[Batch], progress: Progress) -> bool:
        """One step on the mean loss of `batches`; False when it was skipped for something not finite."""
        # Dropout and masks follow from (seed, step, rank) alone, so that no generator's state needs to be kept.
        torch.manual_seed((self.options.seed * self.world.size + self.world.rank) * 1_000_003 + progress.step)
        self.objective.prepare(progress.step)
        self.freezing.apply(progress.step)
        rate = self.schedule(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self._share()
        # Norm statistics move in the forward pass, before it is known whether the step counts.
        buffers = {name: buffer.clone() for name, buffer in self.objective.module.named_buffers()}
        with self.noise.added(progress.step):
            for batch in batches:
                with _enough_memory(batch):
                    loss = self._forward(batch, progress.step)
                    if self.world.any(not bool(torch.isfinite(loss.total))):
                        return self._skip(batch, loss, buffers, progress)
                    torch.autograd.backward(self.scaler.scale(loss.total * batch.share / len(batches)))
                if batch.share:
                    self.meter.add({**loss.parts, "loss": loss.total.detach()}, int(batch.feat_lengths.sum()))
        self.world.average(self.objective.module)
        self.scaler.unscale_(self.optimizer)
        norms = self._clip()
        if self.options.precision != "float16" and not all(bool(torch.isfinite(norm)) for norm in norms.values()):
            return self._skip(batches[-1], loss, buffers, progress)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.step += 1
        progress.bad_steps = 0
        self.meter.add({**norms})
        return True

    def _clip(self) -> dict[str, Tensor]:
        """Scale the gradients of each independent part down to `clip_norm`; what the norms were, by name."""
        parts = self.objective.independent_parts().items()
        return {
            f"{name}/gradient_norm".lstrip("/"): torch.nn.utils.clip_grad_norm_(parameters, self.options.clip_norm)
            for name, parameters in parts
        }

    def _share(self) -> None:
        """All processes have the parameters and buffers of the first; those of norms move with the data of each."""
        module = self.objective.module.train()
        self.world.share(module.buffers() if self._is_shared else [*module.parameters(), *module.buffers()])
        self._is_shared = True

    def _forward(self, batch: Batch, step: int) -> StepLoss:
        batch = batch.to(self.world.device)
        kind = torch.float16 if self.options.precision == "float16" else torch.bfloat16
        with torch.autocast(self.world.device.type, dtype=kind, enabled=self.options.precision != "float32"):
            loss = self.objective(batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, step)
        return loss

    def _skip(self, batch: Batch, loss: StepLoss, buffers: dict[str, Tensor], progress: Progress) -> bool:
        """Leave the network as it was and say whose loss it was; give up when it goes on."""
        for name, buffer in self.objective.module.named_buffers():
            buffer.copy_(buffers[name])
        # One bad input can spoil its whole batch through batch statistics, so features are asked before losses.
        fine = torch.isfinite(batch.feats).flatten(1).all(1)
        if bool(fine.all()):
            fine = torch.isfinite(loss.utterance_losses)
        at_fault = [name for name, good in zip(batch.utterances, fine.tolist()) if not good] or batch.utterances
        progress.bad_steps += 1
        line = f"step {progress.step}: loss or gradient not finite, step skipped; utterances: {' '.join(at_fault)}"
        logger.warning(line)
        if progress.bad_steps >= self.options.max_bad_steps:
            raise InputError(f"{progress.bad_steps} steps in a row without a finite loss; {line}")
        return False


def _enough_memory(batch: Batch) -> contextlib.AbstractContextManager[None]:
    names = batch.utterances
    shown = " ".join(names[:3]) + (f" ... (batch of {len(names)})" if len(names) > 3 else "")
    return enough_memory(
        f"training: utterances {shown} of up to {int(batch.feat_lengths.max())} frames do not fit",
        "lower batches.max_frames, and batches.max_utterance_frames where one alone is too long",
    )
