"""Which networks are kept, by which loss, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CONFIG, TINY
from torch import nn

from dualtk.system import PretrainingSystem, TransducerSystem, load
from dualtk.train.keeping import BestNetworks
from dualtk.trainable import Trainable


def transducer() -> Trainable:
    system = load(CONFIG, overrides=TINY)
    assert isinstance(system, TransducerSystem)
    return system.build_objective(system.build_network(8, torch.zeros(16), torch.ones(16)))


def pretraining() -> Trainable:
    system = load(CONFIG.parent / "wav2vec_pretrain.yaml")
    assert isinstance(system, PretrainingSystem)
    return system.build_objective(system.build_network(torch.zeros(160), torch.ones(160)))


def test_distillation_and_the_teacher_have_no_say() -> None:
    choice_loss = transducer().choice_loss
    values = {"full/rnnt": 2.0, "streaming/rnnt": 4.0, "full/simple": 9.0, "teacher/rnnt": 1.0, "loss": 30.0}
    assert choice_loss(values) == 3.0
    assert choice_loss({**values, "streaming/three_way": 50.0, "loss": 99.0}) == 3.0


def test_in_pre_training_the_accuracies_choose() -> None:
    choice_loss = pretraining().choice_loss
    values = {"full/contrastive": 2.0, "full/accuracy": 0.5, "streaming/accuracy": 0.25, "penalty": 9.0, "loss": 99.0}
    assert choice_loss(values) == 0.625
    collapsed = {"full/contrastive": 0.0, "full/accuracy": 0.0, "streaming/accuracy": 0.0, "loss": 0.0}
    assert choice_loss(collapsed) > choice_loss(values)


class Run:
    """A run whose networks are single numbers."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files = [folder / "model.safetensors", folder / "teacher/model.safetensors"]
        self.networks = [nn.Linear(1, 1, bias=False) for _ in self.files]
        self.kept = BestNetworks(dict(zip(self.files, self.networks)), count, writes=True)
        self.best: list[tuple[float, int]] = []

    def evaluate(self, step: int, loss: float) -> None:
        """The networks of step s are s and 10 s."""
        with torch.no_grad():
            for factor, network in zip((1.0, 10.0), self.networks):
                network.weight.fill_(factor * step)
        self.best = self.kept.offer(loss, step, self.best)

    def averages(self) -> list[float]:
        return [float(load_file(path)["weight"]) for path in self.files]

    def candidates(self) -> set[str]:
        found = [{path.name for path in (one.parent / "checkpoints").iterdir()} for one in self.files]
        assert found[0] == found[1]
        return found[0]


def test_student_and_teacher_are_averaged_over_the_same_steps(tmp_path: Path) -> None:
    run = Run(tmp_path, count=2)
    for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0), (4, 9.0)):
        run.evaluate(step, loss)
    assert run.best == [(3.0, 2), (4.0, 3)]
    assert run.averages() == [2.5, 25.0]
    run.kept.tidy(run.best)
    assert run.candidates() == {"step-2.safetensors", "step-3.safetensors"}


def test_a_run_killed_before_its_state_is_saved_finds_the_candidates_of_that_state(tmp_path: Path) -> None:
    run = Run(tmp_path, count=2)
    run.evaluate(1, 5.0)
    run.evaluate(2, 4.0)
    run.kept.tidy(run.best)
    saved = run.best
    run.evaluate(3, 3.0)
    run.evaluate(4, 2.0)
    expected = run.averages()
    again = Run(tmp_path, count=2)
    again.best = saved
    again.evaluate(3, 3.0)
    again.evaluate(4, 2.0)
    assert again.averages() == expected == [3.5, 35.0]


@pytest.mark.parametrize("loss", [3.0, 8.0])
def test_other_processes_write_nothing(tmp_path: Path, loss: float) -> None:
    kept = BestNetworks({tmp_path / "model.safetensors": nn.Linear(1, 1)}, 1, writes=False)
    assert kept.offer(loss, 2, [(5.0, 1)]) == [min((5.0, 1), (loss, 2))]
    kept.tidy([])
    assert not list(tmp_path.iterdir())
