"""The training loop: batches in, steps, evaluations and checkpoints out. A killed run continues bit for bit."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from dualtk.config import TrainConfig
from dualtk.data.batches import Batch
from dualtk.data.sampler import BucketedBatches
from dualtk.errors import InputError
from dualtk.objective import Objective, StepLoss
from dualtk.train.checkpoint import (
    average,
    load_training,
    save_network,
    save_training,
)
from dualtk.train.distributed import World
from dualtk.train.optim import Schedule
from dualtk.train.run import Experiment

logger = logging.getLogger("dualtk")

FRAME_SECONDS = 0.01


@dataclass
class Position:
    """Where training stands.

    Attributes:
        step: optimiser steps taken.
        epoch, batch: the next batch to take.
        bad_steps: steps in a row that were skipped for a loss or gradient that is not finite.
        best: (validation loss, step) of the networks that are kept, best first.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    bad_steps: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)


class Meter:
    """Means of named values since the last log line, and audio seconds per second."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}
        self.frames = 0
        self.began = time.monotonic()

    def add(self, values: dict[str, Tensor | float], frames: int = 0) -> None:
        """Values of one batch of so many feature frames; a value may be absent from some batches."""
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1
        self.frames += frames

    def means(self) -> dict[str, float]:
        """Means, and throughput."""
        means = {key: float(value) / self.counts[key] for key, value in self.sums.items()}
        elapsed = time.monotonic() - self.began
        return {**means, "audio_per_second": self.frames * FRAME_SECONDS / max(elapsed, 1e-9)}


class Trainer:
    """Steps, evaluations and checkpoints of one run.

    Args:
        objective: what a step minimises.
        optimizer, schedule: how.
        section: the `train` section of the configuration.
        train_loader, train_batches: training data, and the sampler that gives it an order.
        valid_loader: data that chooses the checkpoints.
        experiment: the folder of the run.
        world: this process among others.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        schedule: Schedule,
        section: TrainConfig,
        train_loader: DataLoader[Batch],
        train_batches: BucketedBatches,
        valid_loader: DataLoader[Batch],
        experiment: Experiment,
        world: World,
    ) -> None:
        self.objective = objective
        self.wrapped: nn.Module = world.wrap(objective, find_unused=objective.sampling is not None)
        self.optimizer = optimizer
        self.schedule = schedule
        self.section = section
        self.train_loader = train_loader
        self.train_batches = train_batches
        self.valid_loader = valid_loader
        self.experiment = experiment
        self.world = world
        self.scaler = torch.amp.grad_scaler.GradScaler(world.device.type, enabled=section.precision == "float16")
        self.position = Position()
        self.meter = Meter()

    def train(self) -> None:
        """Run to `max_steps`, from the last checkpoint where there is one."""
        self.restore()
        self.meter.clear()
        with self._progress() as progress:
            for batches in self._groups():
                if not self.step(batches):
                    continue
                progress.update(1)
                if self.position.step % self.section.log_every == 0:
                    self.log(progress)
                if self.position.step % self.section.validate_every == 0 or self.finished:
                    self.evaluate()
                if self.position.step % self.section.save_every == 0 or self.finished:
                    self.save()
                if self.finished:
                    break

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.position.step >= self.section.max_steps

    def _groups(self) -> Iterator[list[Batch]]:
        """Batches of one step each, epoch after epoch, from where the run stands."""
        if self.finished:
            return
        group: list[Batch] = []
        while True:
            self.train_batches.start(self.position.epoch, self.position.batch)
            for batch in self.train_loader:
                group.append(batch)
                self.position.batch += 1
                if len(group) == self.section.accumulate:
                    yield group
                    group = []
            # What is left of an epoch is less than a step; the next epoch starts clean, so that resuming is exact.
            group = []
            self.position.epoch += 1
            self.position.batch = 0

    def step(self, batches: list[Batch]) -> bool:
        """One optimiser step on the mean loss of `batches`; False when it was skipped for something not finite."""
        # Dropout and masks follow from (seed, step, rank) alone, so that no generator's state needs to be kept.
        torch.manual_seed((self.section.seed * self.world.size + self.world.rank) * 1_000_003 + self.position.step)
        rate = self.schedule(self.position.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.wrapped.train()
        # Norm statistics move in the forward pass, before it is known whether the step counts.
        buffers = {name: buffer.clone() for name, buffer in self.objective.named_buffers()}
        for index, batch in enumerate(batches):
            with self._sync(last=index == len(batches) - 1):
                loss = self._forward(batch)
                if self.world.any(not bool(torch.isfinite(loss.total))):
                    return self._skip(batch, loss, buffers)
                torch.autograd.backward(self.scaler.scale(loss.total / len(batches)))
            self.meter.add({**loss.parts, "loss": loss.total.detach()}, int(batch.feat_lengths.sum()))
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.section.clip_norm)
        if self.section.precision != "float16" and not bool(torch.isfinite(norm)):
            return self._skip(batches[-1], loss, buffers)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.position.step += 1
        self.position.bad_steps = 0
        self.meter.add({"gradient_norm": norm})
        return True

    def _sync(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients travel between processes with the last batch of a step only."""
        if last or not isinstance(self.wrapped, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.wrapped.no_sync()

    def _forward(self, batch: Batch) -> StepLoss:
        batch = batch.to(self.world.device)
        kind = torch.float16 if self.section.precision == "float16" else torch.bfloat16
        with torch.autocast(self.world.device.type, dtype=kind, enabled=self.section.precision != "float32"):
            loss: StepLoss = self.wrapped(
                batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, self.position.step
            )
        return loss

    def _skip(self, batch: Batch, loss: StepLoss, buffers: dict[str, Tensor]) -> bool:
        """Leave the network as it was and say whose loss it was; give up when it goes on."""
        for name, buffer in self.objective.named_buffers():
            buffer.copy_(buffers[name])
        # One bad input can spoil its whole batch through batch statistics, so features are asked before losses.
        fine = torch.isfinite(batch.feats).flatten(1).all(1)
        if bool(fine.all()):
            fine = torch.isfinite(loss.utterance_losses)
        at_fault = [name for name, good in zip(batch.utterances, fine.tolist()) if not good] or batch.utterances
        self.position.bad_steps += 1
        line = f"step {self.position.step}: loss or gradient not finite, step skipped; utterances: {' '.join(at_fault)}"
        logger.warning(line)
        if self.position.bad_steps >= self.section.max_bad_steps:
            raise InputError(f"{self.position.bad_steps} steps in a row without a finite loss; {line}")
        return False

    def log(self, progress: tqdm[Any]) -> None:
        """One line of metrics."""
        values = self.meter.means()
        values["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        values["epoch"] = self.position.epoch
        self.experiment.metrics(self.position.step, values, "train")
        progress.set_postfix(loss=f"{values['loss']:.3f}", audio=f"{values['audio_per_second']:.0f}x", refresh=False)
        if self.experiment.writes:
            logger.info("step %d: %s", self.position.step, " ".join(f"{k} {v:.4g}" for k, v in values.items()))
        self.meter.clear()

    @torch.no_grad()
    def evaluate(self) -> None:
        """Validation loss in every mode; keep the network if it is among the best, and average those."""
        self.wrapped.eval()
        sums: dict[str, Tensor] = {}
        count = torch.zeros((), device=self.world.device)
        for batch in self.valid_loader:
            loss = self._evaluate_batch(batch)
            weight = len(batch.utterances)
            count += weight
            for key, value in {**loss.parts, "loss": loss.total}.items():
                sums[key] = sums.get(key, torch.zeros_like(count)) + value.to(count) * weight
        values = {key: float(self.world.mean(value) / self.world.mean(count.clone())) for key, value in sums.items()}
        self.experiment.metrics(self.position.step, values, "valid")
        if self.experiment.writes:
            logger.info("step %d: valid %s", self.position.step, " ".join(f"{k} {v:.4g}" for k, v in values.items()))
        self._keep(values["loss"])
        self.meter.clear()

    def _evaluate_batch(self, batch: Batch) -> StepLoss:
        """The objective itself, not DDP's wrapper: shards of validation data need not be of one length."""
        batch = batch.to(self.world.device)
        loss: StepLoss = self.objective(
            batch.feats, batch.feat_lengths, batch.targets, batch.target_lengths, self.position.step
        )
        return loss

    def _keep(self, loss: float) -> None:
        """Keep this network while it is among the best, drop the one that it displaces, renew the average."""
        best = sorted([*self.position.best, (loss, self.position.step)])[: self.section.average_best]
        dropped = set(self.position.best) - set(best)
        kept = (loss, self.position.step) in best
        self.position.best = best
        if not self.experiment.writes or not kept:
            return
        save_network(self._candidate(self.position.step), self.objective.network.state_dict())
        save_network(self.experiment.network_file, average([self._candidate(step) for _, step in best]))
        for _, step in dropped:
            self._candidate(step).unlink(missing_ok=True)

    def save(self) -> None:
        """Write the training state."""
        if not self.experiment.writes:
            return
        state = {
            "position": asdict(self.position),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_training(self.experiment.training_file, state)

    def restore(self) -> None:
        """Go back to the last training state, if there is one."""
        path = self.experiment.training_file
        if not path.exists():
            self.experiment.forget_after(-1)
            return
        state = load_training(path, self.world.device)
        try:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: made with another configuration: {str(error).splitlines()[-1].strip()}"
            ) from error
        self.scaler.load_state_dict(state["scaler"])
        position = state["position"]
        self.position = Position(**{**position, "best": [tuple(pair) for pair in position["best"]]})
        self.experiment.forget_after(self.position.step)
        if self.experiment.writes:
            logger.info("continuing from step %d (%s)", self.position.step, path)

    def _candidate(self, step: int) -> Path:
        return self.experiment.checkpoints / f"step-{step}.safetensors"

    def _progress(self) -> tqdm[Any]:
        return tqdm(
            total=self.section.max_steps,
            initial=self.position.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if self.experiment.writes else True,
        )
