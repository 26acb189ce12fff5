"""Students and teachers small enough for a test, on one ragged batch."""

from __future__ import annotations

from pathlib import Path

import torch

from dualtk import config as configuration
from dualtk.build import build_network, build_objective
from dualtk.config import Config
from dualtk.objective import Objective, StepLoss
from dualtk.train.checkpoint import save_network

CONF = Path(__file__).resolve().parents[1] / "egs/synthetic/asr1/conf"
LSTM = "{name: lstm, dim: 8, num_layers: 1, dropout: 0.0, stacking: 4, time_reduction: 1}"
CODERT = [
    f"model.encoder={LSTM}",
    "model.predictor={name: stateless, dim: 8}",
    "teacher={name: shared_decoder, encoder: " + LSTM.replace("dim: 8", "dim: 12") + ", mode: {}}",
    "augment=null",
]
TT = [
    "model.encoder.dim=8",
    "model.encoder.num_layers=2",
    "model.encoder.feedforward_dim=12",
    "model.encoder.num_heads=2",
    "model.encoder.subsampling_factor=4",
    "model.encoder.dropout=0.0",
    "model.predictor={name: stateless, dim: 8}",
    "model.joiner.joiner_dim=8",
    "augment=null",
]
VOCABULARY = 10


def load(name: str, *overrides: str) -> Config:
    return configuration.with_overrides(configuration.load(CONF / f"{name}.yaml"), list(overrides))


def make(config: Config, vocab_size: int = VOCABULARY, outputs: Path | None = None) -> Objective:
    torch.manual_seed(0)
    num_mels = config.features.dim
    network = build_network(config, vocab_size, torch.zeros(num_mels), torch.ones(num_mels))
    return build_objective(config, network, outputs)


def loss_of(objective: Objective, step: int = 5000, scale: float = 1.0) -> StepLoss:
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 48, 80, generator=generator) * scale
    targets = torch.randint(1, VOCABULARY, (3, 4), generator=generator)
    torch.manual_seed(2)
    loss: StepLoss = objective(feats, torch.tensor([48, 40, 31]), targets, torch.tensor([4, 3, 2]), step)
    return loss


def write_experiment(
    folder: Path, config: Config, vocab_size: int = VOCABULARY, mean: float = 0.0, seed: int = 7
) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(configuration.dump(config))
    torch.manual_seed(seed)
    num_mels = config.features.dim
    network = build_network(config, vocab_size, torch.full((num_mels,), mean), torch.full((num_mels,), 2.0))
    save_network(folder / "model.safetensors", network.state_dict())
    return folder
