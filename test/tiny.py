"""A corpus of noise and a network of a few thousand weights: enough to see whether the machinery is exact."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np

from dualtk.data.arks import write_cmvn

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "test/conf/dual_conformer.yaml"
WORDS = ["ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL"]
TINY = [
    "features.num_mels=16",
    "model.encoder.dim=16",
    "model.encoder.num_layers=2",
    "model.encoder.feedforward_dim=24",
    "model.encoder.kernel=5",
    "model.encoder.subsampling_channels=4",
    "model.predictor={name: stateless, dim: 16, dropout: 0.1}",
    "model.joiner.joiner_dim=16",
    "batches.max_frames=200",
    "batches.max_utterance_frames=200",
    "batches.cache=true",
    "train.max_steps=12",
    "train.save_every=2",
    "train.validate_every=4",
    "train.log_every=1",
]


def write_set(
    directory: Path,
    num_utterances: int,
    seed: int,
    dim: int = 16,
    spoken: bool = True,
    frames: tuple[int, int] = (24, 60),
) -> None:
    """A data directory with features, from noise; the same for the same seed. `spoken`: with transcripts."""
    directory.mkdir(parents=True)
    random = np.random.default_rng(seed)
    names = [f"spk-{seed}-{index:03d}" for index in range(num_utterances)]
    feats = {name: random.normal(size=(random.integers(*frames), dim)).astype(np.float32) for name in names}
    kaldiio.save_ark(str(directory / "feats.ark"), feats, scp=str(directory / "feats.scp"))
    if spoken:
        texts = {name: " ".join(random.choice(WORDS, size=random.integers(1, 4))) for name in names}
        (directory / "text").write_text("".join(f"{name} {text}\n" for name, text in texts.items()))
    (directory / "utt2num_frames").write_text("".join(f"{name} {len(feats[name])}\n" for name in names))
    stacked = np.concatenate(list(feats.values())).astype(np.float64)
    stats = np.zeros((2, dim + 1))
    stats[0, :-1], stats[0, -1], stats[1, :-1] = stacked.sum(0), len(stacked), (stacked**2).sum(0)
    write_cmvn(directory / "cmvn.ark", stats)


def train_arguments(corpus: Path, exp: Path, *overrides: str, config: Path = CONFIG) -> list[str]:
    """Arguments of `dualtk train` for the tiny network."""
    options = ["--config", str(config), "--exp", str(exp), "--tokens", str(corpus / "lang"), "--device", "cpu"]
    options += ["--train-dir", str(corpus / "train"), "--dev-dir", str(corpus / "dev"), "--threads", "1"]
    for override in [*TINY, *overrides]:
        options += ["--set", override]
    return options
