"""Every shipped system, made small, learns real spoken digits in ten steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from dualtk import config as configuration
from dualtk.build import build_network, build_objective
from dualtk.config import Config, FrozenTeacherConfig, PretrainConfig
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import FeatureOptions, extract
from dualtk.data.samples import SampleOptions
from dualtk.objective import Objective
from dualtk.train.checkpoint import save_network

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [
    path
    for path in sorted(ROOT.glob("egs/*/*/conf/*.yaml"))
    if not isinstance(configuration.load_any(path), PretrainConfig)  # test/train/test_pretraining.py
]
VOCABULARY = 11
SMALL = {
    "conformer": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24", "kernel=5", "subsampling_channels=4"],
    "transformer": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24"],
    "contextnet": ["alpha=0.05", "layers_per_block=1"],
    "lstm": ["dim=16"],
    "wav2vec": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24", "channels=8"],
}
EVERYWHERE = ["augment=null", "model.predictor={name: stateless, dim: 16}"]
OPTIONS: dict[str, FeatureOptions] = {"fbank": FbankOptions(num_mels=40), "samples": SampleOptions()}


@dataclass
class Digits:
    """Four real utterances of three digits: feats (B, T, F) with lengths (B,), and targets (B, 3)."""

    feats: Tensor
    lengths: Tensor
    targets: Tensor
    shared: bool

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Of each feature, or where they are samples of all."""
        valid = torch.cat([feats[:length] for feats, length in zip(self.feats, self.lengths)])
        if self.shared:
            return valid.mean().expand(valid.shape[1]).clone(), 1.0 / valid.std().expand(valid.shape[1])
        return valid.mean(0), 1.0 / valid.std(0)


@pytest.fixture(scope="module")
def recordings(test_data: Path) -> dict[str, Digits]:
    """The digits as features of every kind."""
    folder = test_data / "fsdd/recordings"
    feats: dict[str, list[Tensor]] = {kind: [] for kind in OPTIONS}
    targets = []
    for speaker, spoken in {"george": (3, 1, 4), "jackson": (1, 5, 9), "theo": (2, 6, 5), "lucas": (8, 0, 7)}.items():
        takes = [soundfile.read(folder / f"{digit}_{speaker}_7.wav", dtype="float32") for digit in spoken]
        samples = torch.cat([torch.from_numpy(samples) for samples, _ in takes])
        for kind, options in OPTIONS.items():
            feats[kind].append(extract(samples, takes[0][1], options))
        targets.append([digit + 1 for digit in spoken])
    return {
        kind: Digits(
            torch.nn.utils.rnn.pad_sequence(each, batch_first=True),
            torch.tensor([len(one) for one in each]),
            torch.tensor(targets),
            kind == "samples",
        )
        for kind, each in feats.items()
    }


def shrink(config: Config) -> Config:
    """The same system with a few thousand weights; distillation counts from the first step."""
    overrides = list(EVERYWHERE)
    if config.features.kind == "fbank":
        overrides.append("features.num_mels=40")
    tree = config.model_dump(mode="json")
    encoders = {"model.encoder": tree["model"]["encoder"]}
    teacher = tree["teacher"] or {}
    if "encoder" in teacher:
        encoders["teacher.encoder"] = teacher["encoder"]
    if teacher.get("model"):
        encoders["teacher.model.encoder"] = teacher["model"]["encoder"]
        overrides.append("teacher.model.predictor={name: stateless, dim: 16}")
    for path, encoder in encoders.items():
        overrides += [f"{path}.{change}" for change in [*SMALL[encoder["name"]], "dropout=0.0"]]
        if encoder.get("latent_masks"):
            overrides.append(f"{path}.latent_masks.channel_width=2")
    if config.model.joiner.name == "tanh":
        overrides.append("model.joiner.joiner_dim=16")
    for index in range(len(config.terms)):
        overrides += [f"terms.{index}.start_step=0", f"terms.{index}.warmup_steps=0"]
    if config.loss.name == "pruned":
        overrides.append("loss.warmup_steps=0")
    return configuration.with_overrides(config, overrides)


def with_teacher(config: Config, conf: Path, folder: Path, digits: Digits) -> Config:
    """`config` with the experiment that its frozen teacher comes from, as that one's YAML makes it."""
    if not isinstance(config.teacher, FrozenTeacherConfig):
        return config
    name = config.teacher.exp.name
    teacher = shrink(configuration.load(conf.parent / f"{name}.yaml"))
    (folder / name).mkdir()
    (folder / name / "config.yaml").write_text(configuration.dump(teacher))
    network = build_network(teacher, VOCABULARY, *digits.statistics())
    save_network(folder / name / "model.safetensors", network.state_dict())
    return configuration.with_overrides(config, [f"teacher.exp={folder / name}"])


def total(objective: Objective, digits: Digits) -> float:
    """The loss of all passes and terms on the batch, in training mode."""
    plan, objective.plan = objective.plan, replace(objective.plan, sampling=None)
    with torch.no_grad():
        loss = objective(digits.feats, digits.lengths, digits.targets, torch.full((4,), 3), 0)
    objective.plan = plan
    return float(loss.total)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parts[-4]}-{path.stem}")
def test_ten_steps_lower_the_loss(path: Path, recordings: dict[str, Digits], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = shrink(configuration.load(path))
    digits = recordings[config.features.kind]
    config = with_teacher(config, path, tmp_path, digits)
    objective = build_objective(config, build_network(config, VOCABULARY, *digits.statistics())).train()
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    before = total(objective, digits)
    for step in range(10):
        optimizer.zero_grad()
        loss = objective(digits.feats, digits.lengths, digits.targets, torch.full((4,), 3), step).total
        loss.backward()
        optimizer.step()
    assert total(objective, digits) < 0.95 * before
