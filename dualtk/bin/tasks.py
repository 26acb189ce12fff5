"""What `dualtk train` can train: a transducer, or the network of pre-training. The loop is the same for both."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from dualtk import config as configuration
from dualtk.build import build_network, build_objective
from dualtk.build_pretraining import build_pretraining, build_pretraining_network
from dualtk.config import Config, FrozenTeacherConfig, PretrainConfig, RunConfig
from dualtk.data.arks import read_cmvn
from dualtk.data.bpe import Wordpieces
from dualtk.errors import InputError
from dualtk.lattice.backends import choose
from dualtk.objective import Objective
from dualtk.ssl.collapse import CollapseWatch
from dualtk.ssl.objective import Pretraining
from dualtk.train.initial import initialise
from dualtk.train.run import Experiment

logger = logging.getLogger("dualtk")


@dataclass(frozen=True)
class Task:
    """What is trained, and what that needs.

    Attributes:
        objective: what a step minimises.
        encode: from a transcript to targets; None where no transcripts are needed.
        collapse: is told the codebook's perplexity.
    """

    objective: Objective | Pretraining
    encode: Callable[[str], Sequence[int]] | None = None
    collapse: CollapseWatch | None = None


@dataclass(frozen=True)
class Origin:
    """What a run is made from.

    Attributes:
        inputs: named files whose hashes tell whether the data changed.
        backend: of the transducer loss; empty where there is none.
        assets: files to copy, by their name in the experiment folder.
    """

    inputs: dict[str, Path]
    backend: str = ""
    assets: dict[str, Path] = field(default_factory=dict)


def read_config(options: argparse.Namespace) -> Config | PretrainConfig:
    """The configuration that the options name, with their changes.

    Raises:
        InputError: a key at fault, or a configuration of the other task.
    """
    config = configuration.load_any(options.config)
    task = "pretrain" if isinstance(config, PretrainConfig) else "transducer"
    if task != options.task:
        raise InputError(f"{options.config}: a configuration of --task {task}, not of --task {options.task}")
    return configuration.with_overrides(config, options.set)


def origin(options: argparse.Namespace, config: Config | PretrainConfig, device: torch.device) -> Origin:
    """Files that the task reads, those of a frozen teacher among them."""
    inputs = {"features": options.train_dir / "feats.scp", "cmvn": options.train_dir / "cmvn.ark"}
    assets = {"fbank.json": options.train_dir / "fbank.json"}
    if isinstance(config, PretrainConfig):
        return Origin(inputs, assets=assets)
    if isinstance(config.teacher, FrozenTeacherConfig):
        inputs |= {f"teacher.exp/{name}": config.teacher.exp / name for name in ("model.safetensors", "config.yaml")}
    inputs |= {"text": options.train_dir / "text", "wordpieces": options.bpe / "bpe.model"}
    assets |= {f"lang/{name}": options.bpe / name for name in ("bpe.model", "bpe.vocab", "tokens.txt")}
    return Origin(inputs, choose("auto", device.type, torch.float32).name, assets)


def build_task(options: argparse.Namespace, config: Config | PretrainConfig, experiment: Experiment) -> Task:
    """The objective, its network drawn from the seed or begun with what `init` names."""
    mean, istd = read_cmvn(options.train_dir / "cmvn.ark")
    torch.manual_seed(config.train.seed)
    if isinstance(config, PretrainConfig):
        pretrained = build_pretraining_network(config, mean, istd)
        _begin(pretrained, config, experiment)
        if experiment.writes:
            logger.info("%d parameters", pretrained.num_parameters())
        watch = CollapseWatch(config.pretraining.quantizer.entries) if experiment.writes else None
        return Task(build_pretraining(config, pretrained), collapse=watch)
    wordpieces = Wordpieces(options.bpe)
    network = build_network(config, wordpieces.vocab_size, mean, istd)
    _begin(network, config, experiment)
    if experiment.writes:
        logger.info("%d parameters, %d wordpieces", network.num_parameters(), wordpieces.vocab_size)
    outputs = experiment.teacher.folder
    return Task(build_objective(config, network, outputs, wordpieces), wordpieces.encode)


def _begin(network: nn.Module, config: RunConfig, experiment: Experiment) -> None:
    """Fill `network` from elsewhere, unless the run goes on from a state of its own."""
    if config.init is not None and not experiment.training_file.exists():
        initialise(network, config.init, experiment)
