"""The training loop: batches in, steps, evaluations and checkpoints out. A killed run continues bit for bit."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Protocol

from tqdm import tqdm

from dualtk.data.batches import Batch
from dualtk.data.dataset import FeatureDataset, TrainingSet
from dualtk.data.loader import LeaveOut, batch_loader, read_batch, refuse
from dualtk.data.sampler import BatchesOptions
from dualtk.errors import InputError
from dualtk.train.checkpoint import load_training, save_training
from dualtk.train.distributed import World
from dualtk.train.evaluation import evaluate, try_batch
from dualtk.train.experiment import Experiment
from dualtk.train.keeping import BestNetworks
from dualtk.train.progress import Progress
from dualtk.train.stepping import StepOptions, Stepper
from dualtk.train.stopping import Stopping
from dualtk.trainable import Trainable

logger = logging.getLogger("dualtk")

SHOWN = ("perplexity", "mask_rate")  # of pre-training, beside the progress bar; everything is in the log


class LoopOptions(StepOptions, Protocol):
    """The sections that the loop reads."""

    @property
    def batches(self) -> BatchesOptions:
        """How utterances become batches."""
        ...


def require_steps(options: LoopOptions, train_set: TrainingSet, processes: int) -> None:
    """Refuse options with which no step would ever be taken.

    Args:
        options: of the loop and its batches.
        train_set: what is trained on.
        processes: that share the batches.

    Raises:
        InputError: a step wants more batches than an epoch has.
    """
    batches = len(train_set.batches(options.batches, seed=options.train.seed, rank=0, world_size=processes))
    if options.train.accumulate > batches:
        each = " for each process" if processes > 1 else ""
        raise InputError(f"train.accumulate: {options.train.accumulate}, but an epoch has {batches} batches{each}")


class Trainer:
    """Steps, evaluations and checkpoints of one run.

    Args:
        objective: what is trained, on the device of `world`.
        options: of the loop, its batches and its steps.
        train_set: what is trained on.
        valid_set: what chooses the checkpoints.
        experiment: the folder of the run.
        world: this process among others.
        stopping: tells of signals.
        leave_out: is told of utterances that cannot be read; None: they end the run.
    """

    def __init__(
        self,
        objective: Trainable,
        options: LoopOptions,
        train_set: TrainingSet,
        valid_set: FeatureDataset,
        experiment: Experiment,
        world: World,
        stopping: Stopping | None = None,
        leave_out: LeaveOut | None = None,
    ) -> None:
        self.stopping = stopping or Stopping()
        self.stepper = Stepper(objective, options, world)
        self.options = options.train
        self.experiment = experiment
        self.progress = Progress()
        networks = {experiment.inside(name).network_file: one for name, one in objective.networks().items()}
        self.best = BestNetworks(networks, self.options.average_best, experiment.writes)
        batches = options.batches
        self.train_batches = train_set.batches(batches, seed=self.options.seed, rank=world.rank, world_size=world.size)
        self.valid_batches = batches.build(valid_set.lengths, shuffle=False, rank=world.rank, world_size=world.size)
        pin = world.device.type == "cuda"
        workers = 0 if batches.cache else batches.num_workers
        self.leave_out = leave_out or refuse
        self.train_loader = batch_loader(train_set, self.train_batches, workers, pin, self.leave_out)
        self.valid_set = valid_set
        self.valid_loader = batch_loader(valid_set, self.valid_batches, 0, pin, self.leave_out)
        if experiment.writes:
            logger.info("%d batches in an epoch of %d utterances", len(self.train_batches), len(train_set))

    def train(self) -> signal.Signals | None:
        """Run to `max_steps`, from the last checkpoint where there is one.

        Returns:
            The signal that ended the run before, with its state saved.
        """
        self.restore()
        self.try_longest()
        self.stepper.meter.clear()
        self.stopping.saves, self.stopping.speaks = True, self.experiment.writes
        if self.options.max_steps == 0 and not self.progress.best:
            self.save_untrained()
        if self.progress.step and self._validates and self.progress.validated != self.progress.step:
            self.settle()  # the signal that ended the last run came in the midst of this validation
        with self._progress_bar() as bar:
            for batches in self._groups():
                if self.stepper.take(batches, self.progress):
                    bar.update(1)
                    if self.progress.step % self.options.log_every == 0:
                        self.log(bar)
                    self.settle()
                if self.finished or self._asked_to_stop():
                    break
        self.stopping.saves = False
        if self.finished and self.progress.validated == self.progress.step:
            self.require_network()
            return None
        self.save()
        if self.experiment.writes:
            logger.info("stopped at step %d; the same command continues", self.progress.step)
        return self.stopping.number or signal.SIGTERM  # another process may have been told, and not this one

    def settle(self) -> None:
        """What is due after a step: a validation, the choice of the weights that are left, a state on the disk."""
        if self._validates and not self.evaluate():
            return
        if self.finished:
            self.choose_final_weights()
        if self.progress.step % self.options.save_every == 0 or self.finished:
            self.save()

    def try_longest(self) -> None:
        """Validate the batch of the longest utterance: what memory cannot hold is said now, not after the first
        thousand steps."""
        dataset, lengths = self.valid_set, self.valid_set.lengths
        longest = max(self.valid_batches.batches(0), key=lambda batch: max(lengths[index] for index in batch))
        batch = read_batch(dataset, longest, self.leave_out)
        try_batch(self.stepper.objective, batch, self.stepper.world, self.progress.step)

    def require_network(self) -> None:
        """Raise InputError where no validation gave a number, so that no network was kept."""
        if not self.progress.best:
            raise InputError(f"{self.experiment.folder}: no validation loss was finite, so no network was kept")

    def save_untrained(self) -> None:
        """Write the network as it is, without a step: masked, where there are masks, and validated."""
        self.stepper.objective.prepare(0)
        if self.evaluate():
            self.save()

    @property
    def _validates(self) -> bool:
        return self.progress.step % self.options.validate_every == 0 or self.finished

    def _asked_to_stop(self) -> bool:
        """Whether a signal came, in any process."""
        return self.stepper.world.any(self.stopping.asked)

    def _until_stopped(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self.stopping.asked:
                return
            yield batch

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.progress.step >= self.options.max_steps

    def _groups(self) -> Iterator[list[Batch]]:
        """Batches of one step each, epoch after epoch, from where the run stands."""
        if self.finished:
            return
        group: list[Batch] = []
        while True:
            processes = self.stepper.world.size
            if self.progress.batch == 0:
                self.progress.processes = processes
            self.train_batches.start(self.progress.epoch, self.progress.batch, self.progress.processes)
            for batch in self.train_loader:
                if self.stopping.asked and self.stepper.world.size == 1:  # several processes agree after a step
                    self.progress.batch -= len(group)
                    return
                group.append(batch)
                self.progress.batch += processes
                if len(group) == self.options.accumulate:
                    yield group
                    group = []
            # What is left of an epoch is less than a step; the next epoch starts clean, so that resuming is exact.
            group = []
            self.progress.epoch += 1
            self.progress.batch = 0

    def log(self, bar: tqdm[Any]) -> None:
        """One line of metrics."""
        values = self.stepper.meter.means(self.stepper.world)
        values["learning_rate"] = self.stepper.optimizer.param_groups[0]["lr"]
        values["epoch"] = self.progress.epoch
        self.experiment.metrics(self.progress.step, values, "train")
        shown = {key: f"{value:.3g}" for key, value in values.items() if key in SHOWN or key.endswith("/accuracy")}
        bar.set_postfix(
            {"loss": f"{values['loss']:.3f}", **shown, "audio": f"{values['audio_per_second']:.0f}x"}, refresh=False
        )
        self._say(self.progress.step, "", values)
        self.stepper.meter.clear()

    def evaluate(self) -> bool:
        """Validation loss in every mode; keep the network if it is among the best, and average those.

        Returns:
            False if a signal came meanwhile; then nothing is kept of it, and the next run validates again.
        """
        step = self.progress.step
        values = evaluate(self.stepper.objective, self._until_stopped(self.valid_loader), self.stepper.world, step)
        if self._asked_to_stop():
            return False
        self.progress.validated = step
        values["choice"] = self.stepper.objective.choice_loss(values)
        self.experiment.metrics(step, values, "valid")
        self._say(step, "valid ", values)
        for line in self.stepper.objective.warnings(values, step) if self.experiment.writes else []:
            logger.warning(line)
        settled = self.stepper.objective.settled_step
        best = [pair for pair in self.progress.best if pair[1] > settled or step <= settled]
        fault = self.best.fault()
        sound = not self.stepper.world.any(fault is not None or not math.isfinite(values["choice"]))
        if not sound and self.experiment.writes:
            logger.warning("step %d: not kept: %s is not finite", step, fault or "its validation loss")
        self.progress.best = self.best.offer(values["choice"] if sound else math.nan, step, best)
        self.stepper.meter.clear()
        return True

    def choose_final_weights(self) -> None:
        """Decide by validation whether the average of the best networks is left, or the best of them alone.

        Networks of far-apart steps may have little in common: of two good ones the mean can be one that knows nothing.
        """
        if len(self.progress.best) < 2:
            return
        lowest, alone = self.progress.best[0]
        objective, world = self.stepper.objective, self.stepper.world
        trained = {key: value.clone() for key, value in objective.module.state_dict().items()}
        world.barrier()  # the first process has written the averages, all read them
        self.best.load()
        averaged = objective.choice_loss(evaluate(objective, self.valid_loader, world, self.progress.step))
        objective.module.load_state_dict(trained)
        if not averaged <= lowest:  # nor if it is not a number
            self.best.keep_alone(alone)
        if self.experiment.writes:
            steps = " ".join(str(step) for _, step in self.progress.best)
            left = "the average" if averaged <= lowest else f"step {alone}"
            logger.info("steps %s: average %.4g, step %d %.4g; left is %s", steps, averaged, alone, lowest, left)

    def _say(self, step: int, kind: str, values: dict[str, float]) -> None:
        if self.experiment.writes:
            logger.info("step %d: %s%s", step, kind, " ".join(f"{key} {value:.4g}" for key, value in values.items()))

    def save(self) -> None:
        """Write the training state."""
        if not self.experiment.writes:
            return
        state = {
            "progress": asdict(self.progress),
            "objective": self.stepper.objective.training_state(),
            "optimizer": self.stepper.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
        }
        save_training(self.experiment.training_file, state)
        self.best.tidy(self.progress.best)

    def restore(self) -> None:
        """Go back to the last training state, if there is one."""
        path = self.experiment.training_file
        if not path.exists():
            self.experiment.forget_after(-1)
            return
        state = load_training(path, self.stepper.world.device)
        try:
            self.stepper.objective.load_training_state(state["objective"])
            self.stepper.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: made with another configuration: {str(error).splitlines()[-1].strip()}"
            ) from error
        self.stepper.scaler.load_state_dict(state["scaler"])
        size = self.stepper.world.size
        self.progress = Progress.of(state["progress"], size)
        self.experiment.forget_after(self.progress.step)
        if self.experiment.writes:
            logger.info("continuing from step %d (%s)", self.progress.step, path)
            if self.progress.processes not in (0, size):
                logger.warning(self._other_number(self.progress.processes, size))

    def _other_number(self, before: int, now: int) -> str:
        """What it means to go on with another number of processes."""
        held, holds = before * self.options.accumulate, now * self.options.accumulate
        line = (
            f"epoch {self.progress.epoch} was begun by {before} processes: a step now holds {holds} batches, not {held}"
        )
        if held % now == 0:
            line += f"; --override --set train.accumulate={held // now} makes it hold {held}"
        return line + "; no utterance is left out or repeated"

    def _progress_bar(self) -> tqdm[Any]:
        return tqdm(
            total=self.options.max_steps,
            initial=self.progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if self.experiment.writes else True,
        )
