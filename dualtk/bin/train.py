"""Stage 3: train the system that a YAML describes, or continue where a killed run stopped."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dualtk.analysis.curves import read_metrics, training_pictures
from dualtk.bin.dualtk import run
from dualtk.bin.options import add_config_options, at_least
from dualtk.data.arks import read_cmvn
from dualtk.data.batches import FeatureDataset, TrainingSet, select_utterances
from dualtk.data.drawn import DrawnUtterances
from dualtk.data.kinds import require_features
from dualtk.data.sampler import BatchesOptions
from dualtk.data.tokens import Tokenizer
from dualtk.distill.teacher import TEACHER, FrozenTeacherOptions
from dualtk.errors import InputError
from dualtk.lattice import chosen_backend
from dualtk.objective import Objective
from dualtk.system import PretrainingSystem, System, TransducerSystem, load
from dualtk.train.distributed import number_of_processes, world
from dualtk.train.experiment import Experiment, Origin
from dualtk.train.initial import initialise
from dualtk.train.loop import Trainer
from dualtk.trainable import Trainable
from dualtk.trained import find_experiment, frozen_teacher
from dualtk.transducer.labels_alone import LabelsAlone, labels_alone
from dualtk.trial_build import require_buildable

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk train`."""
    options = argparse.ArgumentParser(prog="dualtk train", description=__doc__)
    add_config_options(options)
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
        "--tokens", type=Path, metavar="DIR", help="folder of tokens of stage 2; pre-training needs none"
    )
    options.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="where teacher.exp and init.exp are looked for; default: here"
    )
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's own choice"
    )
    options.add_argument(
        "--override", action="store_true", help="continue although configuration or data changed (default: refuse)"
    )
    return options


def steps_per_epoch(train_dir: Path, batches: BatchesOptions, accumulate: int) -> int:
    """Steps in which every utterance of the training set comes once, on all processes together.

    Raises:
        InputError: no utt2num_frames, or a number of frames that is none.
    """
    frames = [entry.num_frames for entry in select_utterances(train_dir).entries]
    lengths = [length for length in frames if length <= batches.max_utterance_frames]
    order = batches.build(lengths, shuffle=False, world_size=number_of_processes())
    return max(1, len(order) // accumulate)


def read_system(options: argparse.Namespace) -> System:
    """The system that the options describe, with the folders of networks that it is made from.

    Raises:
        InputError: a key at fault, or a network that is not there.
    """
    system = load(options.config, options.size, options.set, lambda *how: steps_per_epoch(options.train_dir, *how))
    method, name = options.config.stem, options.exp.name
    place = (options.exp, name.removeprefix(method) if name.startswith(method) else "", options.work_dir)
    if system.init is not None:
        begun = Experiment(options.exp, writes=False).training_file.exists()  # then nothing is loaded from it again
        exp = find_experiment(system.init.exp, "init.exp", *place, may_be_gone=begun)
        system = system.model_copy(update={"init": system.init.model_copy(update={"exp": exp})})
    if isinstance(system, TransducerSystem) and isinstance(system.teacher, FrozenTeacherOptions):
        exp = find_experiment(system.teacher.exp, "teacher.exp", *place)
        system = system.model_copy(update={TEACHER: system.teacher.model_copy(update={"exp": exp})})
    if isinstance(system, TransducerSystem) and options.tokens is None:
        raise InputError("--tokens: a transducer needs the folder that `dualtk tokens` wrote")
    require_buildable(system)
    return system


def origin(options: argparse.Namespace, system: System, device: torch.device) -> Origin:
    """Files that the run is made from, those of a frozen teacher among them."""
    inputs = {"features": options.train_dir / "feats.scp", "cmvn": options.train_dir / "cmvn.ark"}
    inputs |= {} if system.waveform is None else system.waveform.files()
    assets = {"fbank.json": options.train_dir / "fbank.json"}
    if isinstance(system, PretrainingSystem):
        return Origin(inputs, assets=assets)
    if isinstance(system.teacher, FrozenTeacherOptions):
        inputs |= {f"teacher.exp/{name}": system.teacher.exp / name for name in ("model.safetensors", "config.yaml")}
    inputs |= {"text": options.train_dir / "text", "tokens": options.tokens / "bpe.model"}
    assets |= {f"lang/{name}": options.tokens / name for name in ("bpe.model", "bpe.vocab", "tokens.txt")}
    try:
        backend = chosen_backend(system.loss.backend, device.type, torch.float32)
    except ValueError as error:
        raise InputError(f"loss.backend: {error}") from error
    return Origin(inputs, backend, assets)


def build_objective(
    options: argparse.Namespace, system: System, tokenizer: Tokenizer | None, experiment: Experiment
) -> Trainable:
    """What is trained: its network drawn from the seed, or begun with what `init` names."""
    mean, istd = read_cmvn(options.train_dir / "cmvn.ark")
    torch.manual_seed(system.train.seed)
    begins = system.init is not None and not experiment.training_file.exists()
    objective: Trainable
    if isinstance(system, PretrainingSystem):
        encoder = system.build_network(mean, istd)
        if system.init is not None and begins:
            initialise(encoder, system.init, experiment)
        objective = system.build_objective(encoder)
    else:
        assert tokenizer is not None
        network = system.build_network(tokenizer.vocab_size, mean, istd)
        if system.init is not None and begins:
            initialise(network, system.init, experiment, tokenizer.pieces)
        outputs = experiment.inside(TEACHER).folder
        objective = system.build_objective(network, frozen_teacher(system, network, outputs, tokenizer))
    if experiment.writes:
        count = sum(parameter.numel() for parameter in objective.networks()[""].parameters())
        logger.info("%d parameters%s", count, f", {tokenizer.vocab_size} tokens" if tokenizer else "")
    return objective


def read_set(
    directory: Path,
    system: System,
    encode: Callable[[str], Sequence[int]] | None,
    shortest: int,
    longest: int | None = None,
    *,
    cache: bool,
    most: int | None = None,
) -> FeatureDataset:
    """At most so many utterances of a data directory; those of more than `longest` frames are left out, and said."""
    require_features(directory, system.features)
    selection = select_utterances(directory, encode, min_frames=shortest, max_utterance_frames=longest)
    for line in selection.dropped:
        logger.warning(line)
    dataset = FeatureDataset(selection.spread(most), cache=cache)
    if dataset.dim != system.features.dim:
        raise InputError(
            f"{directory / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"those of the configuration {system.features.dim}"
        )
    return dataset


def without_audio(valid_set: FeatureDataset, subsampling: int, vocab_size: int) -> LabelsAlone:
    """What the validation gives as long as the network has not aligned."""
    found = labels_alone(
        [entry.targets for entry in valid_set.entries],
        [-(-entry.num_frames // subsampling) for entry in valid_set.entries],
        vocab_size,
    )
    logger.info("labels without audio give a transducer loss of %.4g, a CTC loss of %.4g", found.transducer, found.ctc)
    return found


def read_training_set(
    directory: Path, system: System, encode: Callable[[str], Sequence[int]] | None, shortest: int
) -> TrainingSet:
    """What is trained on: as it is stored, or varied by `waveform` and `joining`."""
    cache, longest = system.batches.cache and system.waveform is None, system.batches.max_utterance_frames
    stored = read_set(directory, system, encode, shortest, longest, cache=cache)
    if system.waveform is None and system.joining is None:
        return stored
    return DrawnUtterances(stored, system, shortest)


def main(argv: Sequence[str] | None = None) -> int:
    """Train; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    system = read_system(options)
    tokenizer = Tokenizer(options.tokens) if isinstance(system, TransducerSystem) else None
    networks = {"": system}
    if isinstance(system, TransducerSystem) and (alone := system.teacher_alone()) is not None:
        networks[TEACHER] = alone
    with world(options.device) as here:
        experiment = Experiment(options.exp, here.is_main)
        experiment.start(networks, origin(options, system, here.device), options.override)
        for line in system.unreached() if here.is_main else []:
            logger.warning("never reached: %s", line)
        objective = build_objective(options, system, tokenizer, experiment)
        objective.module.to(here.device)
        encode, shortest = None if tokenizer is None else tokenizer.encode, objective.subsampling
        train_set = read_training_set(options.train_dir, system, encode, shortest)
        most = system.train.max_valid_utterances
        valid_set = read_set(options.dev_dir, system, encode, shortest, cache=system.batches.cache, most=most)
        if isinstance(objective, Objective) and tokenizer is not None:
            objective.labels_alone = without_audio(valid_set, shortest, tokenizer.vocab_size)
        Trainer(objective, system, train_set, valid_set, experiment, here).train()
        experiment.close()
        if here.is_main:
            for picture in training_pictures(read_metrics(experiment.folder / "metrics.jsonl"), "train"):
                picture.save(experiment.folder / "images")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
