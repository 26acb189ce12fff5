"""What is trained is known by its Protocol alone: here a line through points, which is no speech recogniser."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from tiny import ROOT, write_set
from torch import Tensor, nn

from dualtk.data.dataset import FeatureDataset
from dualtk.data.sampler import BatchesOptions
from dualtk.data.selection import select_utterances
from dualtk.options import Section
from dualtk.train.distributed import World
from dualtk.train.experiment import Experiment, Origin
from dualtk.train.initial import InitOptions
from dualtk.train.loop import Trainer
from dualtk.train.optim import CosineSchedule, OptimizerOptions, ScheduleOptions
from dualtk.train.stepping import TrainOptions
from dualtk.trainable import StepLoss, Trainable

WORLD = World(0, 1, torch.device("cpu"))
STEPS = 12


class LineOptions(Section):
    """The sections that a loop reads, and nothing else."""

    format: Literal[2] = 2
    batches: BatchesOptions = BatchesOptions(max_frames=200, cache=True)
    optimizer: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleOptions = CosineSchedule(name="cosine", lr=0.1, warmup_steps=2)
    init: InitOptions | None = None
    train: TrainOptions = TrainOptions(
        max_steps=STEPS, save_every=2, validate_every=3, log_every=1, average_best=2, accumulate=2
    )


class Line(nn.Module):
    """Tells an utterance's length from the mean of its features; it has noise, statistics and a second network."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 1)
        self.shadow = nn.Linear(16, 1)
        self.dropout = nn.Dropout(0.1)
        self.norm = nn.BatchNorm1d(16)
        self.prepared: list[int] = []

    def forward(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        means = self.norm(feats.sum(1) / feat_lengths.unsqueeze(1))
        wanted = feat_lengths / 60
        losses = {
            name: (network(self.dropout(means)).squeeze(1) - wanted).square()
            for name, network in (("line", self.layer), ("shadow", self.shadow))
        }
        total = sum(losses.values(), torch.zeros(()))
        return StepLoss(total.mean(), total.detach(), {key: value.detach().mean() for key, value in losses.items()})

    @property
    def module(self) -> nn.Module:
        return self

    @property
    def settled_step(self) -> int:
        return 3

    @property
    def subsampling(self) -> int:
        return 1

    def prepare(self, step: int) -> None:
        self.prepared.append(step)

    def networks(self) -> dict[str, nn.Module]:
        return {"": self.layer, "shadow": self.shadow}

    def independent_parts(self) -> dict[str, list[nn.Parameter]]:
        shadow = list(self.shadow.parameters())
        return {"": [*self.layer.parameters(), *self.norm.parameters()], "shadow": shadow}

    def training_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state_dict()
        return state

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.load_state_dict(dict(state))

    def choice_loss(self, values: Mapping[str, float]) -> float:
        return values["line"]

    def warnings(self, values: Mapping[str, float], step: int) -> list[str]:
        return [f"step {step}: still a line"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureDataset, FeatureDataset]:
    folder = tmp_path_factory.mktemp("points")
    for name, count in {"train": 24, "dev": 6}.items():
        write_set(folder / name, count, seed=count, spoken=False)
    train, dev = (FeatureDataset(select_utterances(folder / name), cache=True) for name in ("train", "dev"))
    return train, dev


def run(sets: tuple[FeatureDataset, FeatureDataset], folder: Path, options: LineOptions) -> Line:
    """Train, or go on; the line that results."""
    torch.manual_seed(1)
    line = Line()
    objective: Trainable = line
    experiment = Experiment(folder)
    experiment.start({"": options, "shadow": options}, Origin({}), override=False)
    try:
        Trainer(objective, options, *sets, experiment, WORLD).train()
    finally:
        experiment.close()
    return line


def metrics(folder: Path) -> list[dict[str, Any]]:
    changing = {"time", "audio_per_second"}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in changing} for line in lines]


def test_a_line_is_trained_kept_and_continued_to_the_bit(
    sets: tuple[FeatureDataset, FeatureDataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, parts, options = tmp_path / "whole", tmp_path / "parts", LineOptions()
    with caplog.at_level(logging.WARNING):
        line = run(sets, whole, options)
    assert line.prepared == list(range(STEPS))
    assert "step 3: still a line" in caplog.messages
    for stop in (2, 8):  # in the first epoch, and in a later one
        with stopped_after(stop):
            run(sets, parts, options)
    assert run(sets, parts, options).prepared == list(range(8, STEPS))

    lines = metrics(whole)
    assert metrics(parts) == lines
    train = [one for one in lines if one["kind"] == "train"]
    assert [one["step"] for one in train] == list(range(1, STEPS + 1))
    chosen = {one["step"]: one["choice"] for one in lines if one["kind"] == "valid"}
    assert set(chosen) == {3, 6, 9, 12}
    assert chosen[12] < 0.5 * chosen[3]
    best = sorted((loss, step) for step, loss in chosen.items() if step > line.settled_step)[:2]
    for folder in (whole, whole / "shadow"):
        assert {path.stem for path in (folder / "checkpoints").glob("step-*")} == {f"step-{step}" for _, step in best}
        assert load_file(folder / "model.safetensors").keys() == {"weight", "bias"}
    for name in ("model.safetensors", "shadow/model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()

    states = [torch.load(folder / "checkpoints/last.pt", weights_only=True) for folder in (whole, parts)]
    assert states[0]["progress"] == states[1]["progress"]
    for key, value in states[0]["objective"].items():
        assert torch.equal(value, states[1]["objective"][key]), key
    for index, moments in states[0]["optimizer"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(value, states[1]["optimizer"]["state"][index][key]), f"{index} {key}"


# What a network may begin with is a file: its tensors have the names that encoders give them, in torchaudio too, those
# of a compact network are packed, and parameters that no step reads may be held as they were drawn.
INITIAL = {
    "dualtk.encoders.latent_masks",
    "dualtk.encoders.wav2vec",
    "dualtk.encoders.wav2vec_weights",
    "dualtk.nn.masked",
    "dualtk.pruning.packing",
}
MAY_KNOW = (
    *(
        "config",
        "data",
        "errors",
        "extras",
        "files",
        "frames",
        "locks",
        "memory",
        "options",
        "owner",
        "tensors",
        "train",
    ),
    *("trainable", "version", "yaml_tree"),
)


@pytest.mark.parametrize("path", sorted(ROOT.glob("dualtk/train/*.py")), ids=lambda path: path.stem)
def test_training_knows_no_method_by_name(path: Path) -> None:
    """Neither distillation, pruning, pre-training, the transducer nor its objective; `INITIAL` says the exception."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add(str(node.module))
    own = {name for name in modules if name.startswith("dualtk.")}
    known = {name for name in own if name.split(".")[1] in MAY_KNOW}
    assert own - known == (INITIAL if path.stem == "initial" else set())
