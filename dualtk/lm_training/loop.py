"""The training of a neural language model. What a step does follows from its number, so a killed run continues exactly.

Shapes: B batch, U labels.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualtk.errors import InputError
from dualtk.lm.network import NeuralLanguageModel
from dualtk.lm_training.options import LanguageModelSystem
from dualtk.lm_training.perplexity import Perplexity, network_perplexity
from dualtk.lm_training.sentences import Sentences, epoch_batches
from dualtk.memory import enough_memory
from dualtk.train.checkpoint import load_training, save_network, save_training
from dualtk.train.experiment import Experiment
from dualtk.train.stopping import Stopping

logger = logging.getLogger("dualtk")


@dataclass
class _Standing:
    """Where training stands: steps taken, and the lowest loss of an epoch's validation."""

    step: int = 0
    best: float = math.inf


class LanguageModelTrainer:
    """Steps, validations and states of one run.

    Args:
        network: on the device where it is to be trained.
        system: how.
        train_set: the text.
        valid_set: held out; it chooses the epoch whose network is kept.
        experiment: the folder of the run.
        stopping: tells of signals.
    """

    def __init__(
        self,
        network: NeuralLanguageModel,
        system: LanguageModelSystem,
        train_set: Sentences,
        valid_set: Sentences,
        experiment: Experiment,
        stopping: Stopping,
    ) -> None:
        self.network = network
        self.options = system.train
        self.train_set = train_set
        self.valid_set = valid_set
        self.experiment = experiment
        self.stopping = stopping
        self.optimizer = system.optimizer.build(network.named_parameters())
        self.epoch_steps = len(epoch_batches(train_set.lengths, self.options.max_tokens, self.options.seed, 0))
        self.max_steps = self.options.max_epochs * self.epoch_steps
        self.schedule = system.schedule.build(self.max_steps)
        self.standing = _Standing()
        self._device = network.output.weight.device

    def train(self) -> signal.Signals | None:
        """Run to the last epoch, from the last state where there is one.

        Returns:
            The signal that ended the run before, with its state saved.
        """
        self._restore()
        self.stopping.saves = self.stopping.speaks = True
        meter = _Meter()
        while self.standing.step < self.max_steps:
            epoch, first = divmod(self.standing.step, self.epoch_steps)
            batches = epoch_batches(self.train_set.lengths, self.options.max_tokens, self.options.seed, epoch)
            for indices in batches[first:]:
                self._take(*self.train_set.batch(indices.tolist()), meter)
                if self.standing.step % self.options.log_every == 0:
                    self._log(meter)
                if self.standing.step % self.epoch_steps == 0:
                    self._validate(epoch + 1)
                elif self.stopping.asked or self.standing.step % self.options.save_every == 0:
                    self._save()
                if self.stopping.asked:
                    self.stopping.saves = False
                    logger.info("stopped at step %d; the same command continues", self.standing.step)
                    return self.stopping.number
        self.stopping.saves = False
        if not math.isfinite(self.standing.best):
            raise InputError(f"{self.experiment.folder}: no validation gave a finite loss: lower schedule.lr")
        self._require_learnt()
        return None

    def _require_learnt(self) -> None:
        """Refuse a network that is far worse than tokens drawn at random; of one that is no better, say so.

        Raises:
            InputError: the training ran away.
        """
        best, chance = self.standing.best, math.log(self.network.output.out_features)
        if best >= chance:
            line = f"the held-out loss is {best:.4g} a token, that of tokens drawn at random {chance:.4g}"
            if best > 2 * chance:
                raise InputError(f"{self.experiment.folder}: nothing was learnt: {line}; lower schedule.lr")
            logger.warning("%s: not learnt yet: %s", self.experiment.folder, line)

    def _take(self, labels: Tensor, lengths: Tensor, meter: _Meter) -> None:
        """One step on the mean loss of the tokens of a batch: labels (B, U), lengths (B,)."""
        standing, options = self.standing, self.options
        torch.manual_seed(options.seed * 1_000_003 + standing.step)  # of dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(standing.step)
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with enough_memory(f"a batch of {len(labels)} sentences does not fit", "lower train.max_tokens"):
            loss = self.network.losses(labels.to(self._device), lengths.to(self._device)).sum()
            predicted = int(lengths.sum()) + len(lengths)
            torch.autograd.backward(loss / predicted)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip_norm)
        if not bool(torch.isfinite(norm)) or not bool(torch.isfinite(loss.detach())):
            raise InputError(f"step {standing.step}: the loss is not finite: lower schedule.lr")
        self.optimizer.step()
        standing.step += 1
        meter.add(float(loss.detach()), predicted)

    def _log(self, meter: _Meter) -> None:
        values = meter.read()
        rate = self.optimizer.param_groups[0]["lr"]
        self.experiment.metrics(self.standing.step, {**values, "lr": rate}, "train")
        line = "step %d of %d: loss %.4f, %.0f tokens a second"
        logger.info(line, self.standing.step, self.max_steps, values["loss"], values["tokens_per_second"])

    def _validate(self, epoch: int) -> Perplexity:
        """The perplexity of what is held out; the network is kept where it is the best so far."""
        perplexity = network_perplexity(self.network.eval(), self.valid_set, self.options.max_tokens)
        loss = -perplexity.log_prob / perplexity.tokens
        logger.info("epoch %d of %d: held out: %s", epoch, self.options.max_epochs, perplexity)
        self.experiment.metrics(self.standing.step, {"loss": loss, "perplexity": perplexity.of_tokens}, "valid")
        if loss < self.standing.best:
            self.standing.best = loss
            save_network(self.experiment.network_file, self.network.state_dict())
        self._save()
        return perplexity

    def _save(self) -> None:
        state = {
            "step": self.standing.step,
            "best": self.standing.best,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_training(self.experiment.training_file, state)

    def _restore(self) -> None:
        """Go on from the last state, where there is one."""
        path = self.experiment.training_file
        if not path.exists():
            return
        state: dict[str, Any] = load_training(path, self._device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.standing = _Standing(int(state["step"]), float(state["best"]))
        self.experiment.forget_after(self.standing.step)
        logger.info("goes on after step %d of %d", self.standing.step, self.max_steps)


class _Meter:
    """Loss and speed since it was read."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._loss, self._tokens, self._since = 0.0, 0, time.monotonic()

    def add(self, loss: float, tokens: int) -> None:
        """The sum of a batch's losses, and over how many tokens."""
        self._loss += loss
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        """Means, from which it begins anew."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        values = {"loss": self._loss / max(1, self._tokens), "tokens_per_second": self._tokens / seconds}
        self._clear()
        return values
