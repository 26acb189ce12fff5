"""Stage 3: train the system that a YAML describes, or continue where a killed run stopped."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dualtk.analysis.curves import read_metrics, training_pictures
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.tasks import Task, build_task, origin, read_config
from dualtk.config import RunConfig
from dualtk.data.batches import FeatureDataset, Selection, batch_loader, select_utterances
from dualtk.data.kinds import require_kind
from dualtk.data.sampler import BucketedBatches
from dualtk.errors import InputError
from dualtk.train.distributed import World, world
from dualtk.train.freezing import Freezing
from dualtk.train.loop import Trainer
from dualtk.train.meter import Meter
from dualtk.train.optim import build_optimizer, build_schedule
from dualtk.train.run import Experiment
from dualtk.train.stepping import Stepper

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train`."""
    options = argparse.ArgumentParser(prog="dualtk train", description=__doc__)
    options.add_argument(
        "--task",
        choices=["transducer", "pretrain"],
        default="transducer",
        help="default: transducer; pretrain: wav2vec 2.0, without transcripts",
    )
    options.add_argument("--config", type=Path, required=True, metavar="YAML", help="system and training (conf/*.yaml)")
    options.add_argument(
        "--exp", type=Path, required=True, metavar="DIR", help="experiment folder; continued if it exists"
    )
    options.add_argument(
        "--train-dir", type=Path, required=True, metavar="DIR", help="data directory with feats.scp and cmvn.ark"
    )
    options.add_argument(
        "--dev-dir", type=Path, required=True, metavar="DIR", help="data directory that chooses checkpoints"
    )
    options.add_argument(
        "--bpe", type=Path, metavar="DIR", help="wordpiece directory of stage 2; a transducer needs it"
    )
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's own choice"
    )
    options.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change one value of the YAML; may be repeated",
    )
    options.add_argument(
        "--override", action="store_true", help="continue although configuration or data changed (default: refuse)"
    )
    return options


def _dataset(directory: Path, config: RunConfig, task: Task, limit: bool) -> FeatureDataset:
    """The utterances of a data directory; those that fill a batch alone are left out of training, and said."""
    require_kind(directory, config.features.kind)
    selection: Selection = select_utterances(
        directory,
        task.encode,
        min_frames=task.objective.network.encoder.subsampling,
        max_frames=config.batches.max_frames if limit else None,
    )
    for line in selection.dropped:
        logger.warning(line)
    dataset = FeatureDataset(selection, cache=config.batches.cache)
    if dataset.dim != config.features.dim:
        raise InputError(
            f"{directory / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"those of the configuration {config.features.dim}"
        )
    return dataset


def trainer(options: argparse.Namespace, config: RunConfig, task: Task, experiment: Experiment, here: World) -> Trainer:
    """Everything that training needs, built."""
    objective = task.objective.to(here.device)
    train_set = _dataset(options.train_dir, config, task, limit=True)
    valid_set = _dataset(options.dev_dir, config, task, limit=False)
    section = config.batches
    train_batches = BucketedBatches(
        [entry.num_frames for entry in train_set.entries],
        section.max_frames,
        config.train.seed,
        shortest_epochs=section.shortest_epochs,
        num_buckets=section.num_buckets,
        rank=here.rank,
        world_size=here.size,
    )
    valid_batches = BucketedBatches(
        [entry.num_frames for entry in valid_set.entries],
        section.max_frames,
        shuffle=False,
        rank=here.rank,
        world_size=here.size,
    )
    workers = 0 if section.cache else section.num_workers
    pin = here.device.type == "cuda"
    if here.is_main:
        logger.info("%d batches in an epoch of %d utterances", len(train_batches), len(train_set))
    stepper = Stepper(
        objective,
        Freezing(objective.network, config.init.freeze if config.init is not None else []),
        build_optimizer(config.optimizer, objective.named_parameters()),
        build_schedule(config.schedule, config.train.max_steps),
        config.train,
        here,
        Meter(),
    )
    return Trainer(
        stepper,
        config.train,
        batch_loader(train_set, train_batches, workers, pin),
        train_batches,
        batch_loader(valid_set, valid_batches, 0, pin),
        experiment,
        task.collapse,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `parser` for the options."""
    arguments = parser()
    options = arguments.parse_args(argv)
    if options.task == "transducer" and options.bpe is None:
        arguments.error("the following arguments are required: --bpe")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    config = read_config(options)
    with world(options.device) as here:
        experiment = Experiment(options.exp, here.is_main)
        made_from = origin(options, config, here.device)
        experiment.start(config, made_from.inputs, made_from.backend, options.override, made_from.assets)
        for line in config.idle() if here.is_main else []:
            logger.warning("never reached: %s", line)
        task = build_task(options, config, experiment)
        trainer(options, config, task, experiment, here).train()
        experiment.close()
        if here.is_main:
            for picture in training_pictures(read_metrics(experiment.folder / "metrics.jsonl"), "train"):
                picture.save(experiment.folder / "images")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
