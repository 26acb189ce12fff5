"""Every shipped system, made small, learns real spoken digits in ten steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import soundfile
import torch
from building import change
from shipped import SHIPPED, is_pretraining, load_transducer
from teaching import make_tokenizer, write_tokens
from torch import Tensor

from dualtk.config import dump, plain_values
from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import extract
from dualtk.data.samples import SampleOptions
from dualtk.distill.teacher import FrozenTeacherOptions
from dualtk.objective import Objective
from dualtk.system import TransducerSystem
from dualtk.train.checkpoint import save_network
from dualtk.trained import frozen_teacher

pytestmark = pytest.mark.slow

TRAINED = [pair for pair in SHIPPED if not is_pretraining(pair[0])]  # test/train/test_pretraining.py has the others
VOCABULARY = 11
SMALL = {
    "conformer": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24", "kernel=5", "subsampling_channels=4"],
    "transformer": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24"],
    "contextnet": ["alpha=0.05", "layers_per_block=1"],
    "lstm": ["dim=16"],
    "wav2vec": ["dim=16", "num_heads=2", "num_layers=2", "feedforward_dim=24", "channels=8"],
}
EVERYWHERE = ["augment=null", "model.predictor={name: stateless, dim: 16}"]
OPTIONS = {"fbank": FbankOptions(num_mels=40), "samples": SampleOptions()}


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


def shrink(system: TransducerSystem) -> TransducerSystem:
    """The same system with a few thousand weights; distillation counts from the first step."""
    overrides = list(EVERYWHERE)
    if system.features.kind == "fbank":
        overrides.append("features.num_mels=40")
    tree = plain_values(system)
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
    if system.model.joiner.name == "tanh":
        overrides.append("model.joiner.joiner_dim=16")
    for key in system.terms:
        overrides += [f"terms.{key}.start_step=0", f"terms.{key}.warmup_steps=0"]
    if system.loss.name == "pruned":
        overrides.append("loss.warmup_steps=0")
    smaller: TransducerSystem = change(system, *overrides)
    return smaller


def with_teacher(system: TransducerSystem, size: str, folder: Path, digits: Digits) -> TransducerSystem:
    """`system` with the experiment that its frozen teacher comes from, as that one's YAML makes it."""
    if not isinstance(system.teacher, FrozenTeacherOptions):
        return system
    exp = folder / system.teacher.exp.name
    teacher = shrink(load_transducer(exp.name, size))
    exp.mkdir()
    (exp / "config.yaml").write_text(dump(teacher))
    write_tokens(exp / "lang", VOCABULARY)
    network = teacher.build_network(VOCABULARY, *digits.statistics())
    save_network(exp / "model.safetensors", network.state_dict())
    taught: TransducerSystem = change(system, f"teacher.exp={exp}")
    return taught


def total(objective: Objective, digits: Digits) -> float:
    """The loss of all passes and terms on the batch, in training mode."""
    plan, objective.plan = objective.plan, replace(objective.plan, sampled_steps=0)
    with torch.no_grad():
        loss = objective(digits.feats, digits.lengths, digits.targets, torch.full((4,), 3), 0)
    objective.plan = plan
    return float(loss.total)


@pytest.mark.parametrize(("method", "size"), TRAINED)
def test_ten_steps_lower_the_loss(method: str, size: str, recordings: dict[str, Digits], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    system = shrink(load_transducer(method, size))
    digits = recordings[system.features.kind]
    system = with_teacher(system, size, tmp_path, digits)
    network = system.build_network(VOCABULARY, *digits.statistics())
    teacher = frozen_teacher(system, network, tmp_path / "outputs", make_tokenizer(VOCABULARY))
    objective = system.build_objective(network, teacher).train()
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=3e-3)
    before = total(objective, digits)
    for step in range(10):
        optimizer.zero_grad()
        loss = objective(digits.feats, digits.lengths, digits.targets, torch.full((4,), 3), step).total
        loss.backward()
        optimizer.step()
    assert total(objective, digits) < 0.95 * before
