"""Students and teachers small enough for a test, on one ragged batch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from shipped import load_transducer

from dualtk.config import dump
from dualtk.data.tokens import Tokenizer, TokenOptions, write_tokenizer
from dualtk.objective import Objective
from dualtk.system import TransducerSystem
from dualtk.train.checkpoint import save_network
from dualtk.trainable import StepLoss
from dualtk.trained import frozen_teacher

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


def load(method: str, *overrides: str) -> TransducerSystem:
    return load_transducer(method, "cpu-synthetic", *overrides)


def write_tokens(folder: Path, size: int) -> None:
    """So many tokens, as stage 2 writes them: those of fewer are not the first of those of more."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[-(size - 3) :]
    write_tokenizer(folder, [" ".join(letters)], TokenOptions(size=size))


def make_tokenizer(size: int) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "lang", size)
        return Tokenizer(Path(folder) / "lang")


def make(system: TransducerSystem, tokenizer: Tokenizer | None = None, outputs: Path = Path("outputs")) -> Objective:
    """What is trained, with its teacher; `outputs` is where those of a frozen one are kept, if they are to be."""
    tokenizer = tokenizer or make_tokenizer(VOCABULARY)
    torch.manual_seed(0)
    dim = system.features.dim
    network = system.build_network(tokenizer.vocab_size, torch.zeros(dim), torch.ones(dim))
    return system.build_objective(network, frozen_teacher(system, network, outputs, tokenizer))


def loss_of(objective: Objective, step: int = 5000, scale: float = 1.0) -> StepLoss:
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 48, 80, generator=generator) * scale
    targets = torch.randint(1, VOCABULARY, (3, 4), generator=generator)
    torch.manual_seed(2)
    loss: StepLoss = objective(feats, torch.tensor([48, 40, 31]), targets, torch.tensor([4, 3, 2]), step)
    return loss


def write_experiment(
    folder: Path, system: TransducerSystem, vocab_size: int = VOCABULARY, mean: float = 0.0, seed: int = 7
) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(system))
    write_tokens(folder / "lang", vocab_size)
    torch.manual_seed(seed)
    dim = system.features.dim
    network = system.build_network(vocab_size, torch.full((dim,), mean), torch.full((dim,), 2.0))
    save_network(folder / "model.safetensors", network.state_dict())
    return folder
