"""The training loop: batches in, steps, evaluations and checkpoints out. A killed run continues bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from dualtk.config import TrainConfig
from dualtk.data.batches import Batch
from dualtk.data.sampler import BucketedBatches
from dualtk.distill.teacher import TEACHER, CoLearnedTeacher, FrozenTeacher
from dualtk.errors import InputError
from dualtk.objective import Objective
from dualtk.ssl.collapse import CollapseWatch
from dualtk.ssl.objective import Pretraining
from dualtk.train.checkpoint import load_training, save_training
from dualtk.train.evaluation import choice_loss, evaluate
from dualtk.train.keeping import BestNetworks
from dualtk.train.position import Position
from dualtk.train.run import Experiment
from dualtk.train.stepping import Stepper

logger = logging.getLogger("dualtk")

SHOWN = ("perplexity", "mask_rate")  # of pre-training, beside the progress bar; everything is in the log


def trained_state(objective: Objective | Pretraining) -> dict[str, Tensor]:
    """What a run goes on from: all but a frozen teacher, which is read from its own folder each time."""
    state: dict[str, Tensor] = objective.state_dict()
    if not isinstance(objective.teacher, FrozenTeacher):
        return state
    return {key: value for key, value in state.items() if not key.startswith(f"{TEACHER}.")}


def load_trained_state(objective: Objective | Pretraining, state: dict[str, Tensor]) -> None:
    """Go on from `state`. Where an older run kept its frozen teacher too, the one that was read now counts."""
    trained = trained_state(objective).keys()
    read = {key: value for key, value in objective.state_dict().items() if key not in trained}
    objective.load_state_dict({**state, **read})


class Trainer:
    """Steps, evaluations and checkpoints of one run.

    Args:
        stepper: takes the steps.
        section: the `train` section of the configuration.
        train_loader, train_batches: training data, and the sampler that gives it an order.
        valid_loader: data that chooses the checkpoints.
        experiment: the folder of the run.
        collapse: is told the codebook's perplexity at each validation, where there is one.
    """

    def __init__(
        self,
        stepper: Stepper,
        section: TrainConfig,
        train_loader: DataLoader[Batch],
        train_batches: BucketedBatches,
        valid_loader: DataLoader[Batch],
        experiment: Experiment,
        collapse: CollapseWatch | None = None,
    ) -> None:
        self.stepper = stepper
        self.section = section
        self.train_loader = train_loader
        self.train_batches = train_batches
        self.valid_loader = valid_loader
        self.experiment = experiment
        self.collapse = collapse
        self.position = Position()
        objective = stepper.objective
        networks = {experiment.network_file: objective.network}
        if isinstance(objective.teacher, CoLearnedTeacher):
            networks[experiment.teacher.network_file] = objective.teacher.network
        self.best = BestNetworks(networks, section.average_best, experiment.writes)

    def train(self) -> None:
        """Run to `max_steps`, from the last checkpoint where there is one."""
        self.restore()
        self.stepper.meter.clear()
        if self.section.max_steps == 0 and not self.position.best:
            self.leave()
        with self._progress() as progress:
            for batches in self._groups():
                if not self.stepper.take(batches, self.position):
                    continue
                progress.update(1)
                if self.position.step % self.section.log_every == 0:
                    self.log(progress)
                if self.position.step % self.section.validate_every == 0 or self.finished:
                    self.evaluate()
                if self.finished:
                    self.settle()
                if self.position.step % self.section.save_every == 0 or self.finished:
                    self.save()
                if self.finished:
                    break

    def leave(self) -> None:
        """Write the network as it is, without a step: masked, where there are masks, and validated."""
        if self.stepper.objective.pruner is not None:
            self.stepper.objective.pruner.update(0)
        self.evaluate()
        self.save()

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

    def log(self, progress: tqdm[Any]) -> None:
        """One line of metrics."""
        values = self.stepper.meter.means()
        values["learning_rate"] = self.stepper.optimizer.param_groups[0]["lr"]
        values["epoch"] = self.position.epoch
        self.experiment.metrics(self.position.step, values, "train")
        shown = {key: f"{value:.3g}" for key, value in values.items() if key in SHOWN or key.endswith("/accuracy")}
        progress.set_postfix(
            {"loss": f"{values['loss']:.3f}", **shown, "audio": f"{values['audio_per_second']:.0f}x"}, refresh=False
        )
        self._say(self.position.step, "", values)
        self.stepper.meter.clear()

    def evaluate(self) -> None:
        """Validation loss in every mode; keep the network if it is among the best, and average those."""
        step = self.position.step
        values = evaluate(self.stepper.objective, self.valid_loader, self.stepper.world, step)
        values["choice"] = choice_loss(values)
        self.experiment.metrics(step, values, "valid")
        self._say(step, "valid ", values)
        if self.collapse is not None:
            self.collapse.watch(values["least_perplexity"], step)
        pruner = self.stepper.objective.pruner
        settled = -1 if pruner is None else pruner.settled_step
        best = [pair for pair in self.position.best if pair[1] > settled or step <= settled]
        self.position.best = self.best.offer(values["choice"], step, best)
        self.stepper.meter.clear()

    def settle(self) -> None:
        """Decide by validation whether the average of the best networks is left, or the best of them alone.

        Networks of far-apart steps may have little in common: of two good ones the mean can be one that knows nothing.
        """
        (lowest, alone), *others = self.position.best
        if not others:
            return
        objective, world = self.stepper.objective, self.stepper.world
        trained = {key: value.clone() for key, value in objective.state_dict().items()}
        world.barrier()  # the first process has written the averages, all read them
        self.best.load()
        averaged = choice_loss(evaluate(objective, self.valid_loader, world, self.position.step))
        objective.load_state_dict(trained)
        if not averaged <= lowest:  # nor if it is not a number
            self.best.leave(alone)
        if self.experiment.writes:
            steps = " ".join(str(step) for _, step in self.position.best)
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
            "position": asdict(self.position),
            "objective": trained_state(self.stepper.objective),
            "optimizer": self.stepper.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
        }
        save_training(self.experiment.training_file, state)
        self.best.tidy(self.position.best)

    def restore(self) -> None:
        """Go back to the last training state, if there is one."""
        path = self.experiment.training_file
        if not path.exists():
            self.experiment.forget_after(-1)
            return
        state = load_training(path, self.stepper.world.device)
        try:
            load_trained_state(self.stepper.objective, state["objective"])
            self.stepper.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: made with another configuration: {str(error).splitlines()[-1].strip()}"
            ) from error
        self.stepper.scaler.load_state_dict(state["scaler"])
        position = state["position"]
        self.position = Position(**{**position, "best": [tuple(pair) for pair in position["best"]]})
        self.experiment.forget_after(self.position.step)
        if self.experiment.writes:
            logger.info("continuing from step %d (%s)", self.position.step, path)

    def _progress(self) -> tqdm[Any]:
        return tqdm(
            total=self.section.max_steps,
            initial=self.position.step,
            unit="step",
            dynamic_ncols=True,
            disable=None if self.experiment.writes else True,
        )
