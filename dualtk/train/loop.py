"""The training loop: batches in, steps, evaluations and checkpoints out. A killed run continues bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Protocol

from tqdm import tqdm

from dualtk.data.batches import Batch, FeatureDataset, TrainingSet, batch_loader
from dualtk.data.sampler import BatchesOptions
from dualtk.errors import InputError
from dualtk.train.checkpoint import load_training, save_training
from dualtk.train.distributed import World
from dualtk.train.evaluation import evaluate
from dualtk.train.experiment import Experiment
from dualtk.train.keeping import BestNetworks
from dualtk.train.progress import Progress
from dualtk.train.stepping import StepOptions, Stepper
from dualtk.trainable import Trainable

logger = logging.getLogger("dualtk")

SHOWN = ("perplexity", "mask_rate")  # of pre-training, beside the progress bar; everything is in the log


class LoopOptions(StepOptions, Protocol):
    """The sections that the loop reads."""

    @property
    def batches(self) -> BatchesOptions:
        """How utterances become batches."""
        ...


class Trainer:
    """Steps, evaluations and checkpoints of one run.

    Args:
        objective: what is trained, on the device of `world`.
        options: of the loop, its batches and its steps.
        train_set: what is trained on.
        valid_set: what chooses the checkpoints.
        experiment: the folder of the run.
        world: this process among others.
    """

    def __init__(
        self,
        objective: Trainable,
        options: LoopOptions,
        train_set: TrainingSet,
        valid_set: FeatureDataset,
        experiment: Experiment,
        world: World,
    ) -> None:
        self.stepper = Stepper(objective, options, world)
        self.options = options.train
        self.experiment = experiment
        self.progress = Progress()
        networks = {experiment.inside(name).network_file: one for name, one in objective.networks().items()}
        self.best = BestNetworks(networks, self.options.average_best, experiment.writes)
        batches = options.batches
        self.train_batches = train_set.batches(batches, seed=self.options.seed, rank=world.rank, world_size=world.size)
        valid_batches = batches.build(valid_set.lengths, shuffle=False, rank=world.rank, world_size=world.size)
        pin = world.device.type == "cuda"
        workers = 0 if batches.cache else batches.num_workers
        self.train_loader = batch_loader(train_set, self.train_batches, workers, pin)
        self.valid_loader = batch_loader(valid_set, valid_batches, 0, pin)
        if experiment.writes:
            logger.info("%d batches in an epoch of %d utterances", len(self.train_batches), len(train_set))

    def train(self) -> None:
        """Run to `max_steps`, from the last checkpoint where there is one."""
        self.restore()
        self.stepper.meter.clear()
        if self.options.max_steps == 0 and not self.progress.best:
            self.save_untrained()
        with self._progress_bar() as bar:
            for batches in self._groups():
                if not self.stepper.take(batches, self.progress):
                    continue
                bar.update(1)
                if self.progress.step % self.options.log_every == 0:
                    self.log(bar)
                if self.progress.step % self.options.validate_every == 0 or self.finished:
                    self.evaluate()
                if self.finished:
                    self.choose_final_weights()
                if self.progress.step % self.options.save_every == 0 or self.finished:
                    self.save()
                if self.finished:
                    break

    def save_untrained(self) -> None:
        """Write the network as it is, without a step: masked, where there are masks, and validated."""
        self.stepper.objective.prepare(0)
        self.evaluate()
        self.save()

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
            self.train_batches.start(self.progress.epoch, self.progress.batch)
            for batch in self.train_loader:
                group.append(batch)
                self.progress.batch += 1
                if len(group) == self.options.accumulate:
                    yield group
                    group = []
            # What is left of an epoch is less than a step; the next epoch starts clean, so that resuming is exact.
            group = []
            self.progress.epoch += 1
            self.progress.batch = 0

    def log(self, bar: tqdm[Any]) -> None:
        """One line of metrics."""
        values = self.stepper.meter.means()
        values["learning_rate"] = self.stepper.optimizer.param_groups[0]["lr"]
        values["epoch"] = self.progress.epoch
        self.experiment.metrics(self.progress.step, values, "train")
        shown = {key: f"{value:.3g}" for key, value in values.items() if key in SHOWN or key.endswith("/accuracy")}
        bar.set_postfix(
            {"loss": f"{values['loss']:.3f}", **shown, "audio": f"{values['audio_per_second']:.0f}x"}, refresh=False
        )
        self._say(self.progress.step, "", values)
        self.stepper.meter.clear()

    def evaluate(self) -> None:
        """Validation loss in every mode; keep the network if it is among the best, and average those."""
        step = self.progress.step
        values = evaluate(self.stepper.objective, self.valid_loader, self.stepper.world, step)
        values["choice"] = self.stepper.objective.choice_loss(values)
        self.experiment.metrics(step, values, "valid")
        self._say(step, "valid ", values)
        for line in self.stepper.objective.warnings(values, step) if self.experiment.writes else []:
            logger.warning(line)
        settled = self.stepper.objective.settled_step
        best = [pair for pair in self.progress.best if pair[1] > settled or step <= settled]
        self.progress.best = self.best.offer(values["choice"], step, best)
        self.stepper.meter.clear()

    def choose_final_weights(self) -> None:
        """Decide by validation whether the average of the best networks is left, or the best of them alone.

        Networks of far-apart steps may have little in common: of two good ones the mean can be one that knows nothing.
        """
        (lowest, alone), *others = self.progress.best
        if not others:
            return
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
        progress = state["progress"]
        self.progress = Progress(**{**progress, "best": [tuple(pair) for pair in progress["best"]]})
        self.experiment.forget_after(self.progress.step)
        if self.experiment.writes:
            logger.info("continuing from step %d (%s)", self.progress.step, path)

    def _progress_bar(self) -> tqdm[Any]:
        return tqdm(
            total=self.options.max_steps,
            initial=self.progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if self.experiment.writes else True,
        )
