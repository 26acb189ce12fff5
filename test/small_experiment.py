"""An experiment folder as training leaves it, with random weights that say something."""

from __future__ import annotations

from pathlib import Path

import torch
from small_networks import speech
from tiny import CONFIG, TINY, WORDS

from dualtk.config import dump
from dualtk.data.fbank import FbankOptions, fbank
from dualtk.data.kinds import write_options
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.modes import streaming
from dualtk.system import TransducerSystem, load
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment

MELS = FbankOptions(num_mels=16)
VOCABULARY = 24


def write_experiment(folder: Path, *overrides: str) -> Path:
    """Configuration, wordpieces, feature options and network."""
    folder.mkdir(parents=True)
    write_tokenizer(folder / "lang", [" ".join(WORDS)], TokenOptions(size=VOCABULARY))
    write_options(folder, MELS)
    system = load(CONFIG, overrides=[*TINY, *overrides])
    assert isinstance(system, TransducerSystem)
    (folder / "config.yaml").write_text(dump(system), encoding="utf-8")
    torch.manual_seed(1)
    feats = fbank(speech(48000, 7), 16000, MELS)
    network = system.build_network(VOCABULARY, feats.mean(0), 1 / feats.std(0)).eval()
    with torch.no_grad():
        batch = network.normalize(feats.unsqueeze(0), torch.tensor([len(feats)]))
        joiner = network.joiner
        frames = joiner.encoder(network.encode(batch, torch.tensor([len(feats)]), streaming()).frames[0])
        scale = 2.0 / frames.std(0).clamp(min=1e-3)
        joiner.encoder.weight.mul_(scale.unsqueeze(1))
        joiner.encoder.bias.copy_((joiner.encoder.bias - frames.mean(0)) * scale)
        if joiner.output is not None:
            joiner.output.weight.mul_(8.0)
            joiner.output.bias[0] += 3.0
    save_network(Experiment(folder, writes=False).network_file, network.state_dict())
    return folder
