"""What `dualtk train` does with its options."""

from __future__ import annotations

import argparse
import functools
import hashlib
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dualtk.config import FILE as CONFIG
from dualtk.data import bad, columns, contents
from dualtk.data.arks import read_cmvn
from dualtk.data.contents import Digests, features_digest
from dualtk.data.dataset import FeatureDataset, TrainingSet
from dualtk.data.drawn import DrawnUtterances
from dualtk.data.features import require_statistics
from dualtk.data.kinds import require_features
from dualtk.data.sampler import BatchesOptions
from dualtk.data.scale import require_scale
from dualtk.data.selection import Selection
from dualtk.data.storage import Source
from dualtk.data.tokens import Tokenizer, require_known
from dualtk.distill.teacher import TEACHER, FrozenTeacherOptions
from dualtk.errors import InputError
from dualtk.lattice import chosen_backend
from dualtk.memory import enough_memory
from dualtk.objective import Objective
from dualtk.system import PretrainingSystem, System, TransducerSystem, load
from dualtk.tables import each_entry
from dualtk.train.distributed import World, is_first, number_of_processes, world
from dualtk.train.experiment import LISTS, Experiment, Origin
from dualtk.train.initial import Rows, initialise
from dualtk.train.launch import agents, launch, launched
from dualtk.train.left_out import LeftOut
from dualtk.train.loop import Trainer, require_steps
from dualtk.train.slurm import step
from dualtk.train.stopping import Interrupted, Stopping, status_of, stoppable
from dualtk.trainable import Trainable
from dualtk.trained import find_experiment, frozen_teacher, require_alike
from dualtk.transducer.labels_alone import LabelsAlone, labels_alone
from dualtk.trial_build import require_buildable

logger = logging.getLogger("dualtk")

NAMED = 5  # utterances that are left out, each by a line of the log


def steps_per_epoch(train_dir: Path, batches: BatchesOptions, accumulate: int, processes: int) -> int:
    """Steps in which every utterance of the training set comes once, on so many processes together.

    Raises:
        InputError: no utt2num_frames, or a number of frames that is none.
    """
    is_audio = (train_dir / "wav.scp").exists() and not (train_dir / "feats.scp").exists()
    frames = columns.lengths(train_dir, "audio" if is_audio else "stored")
    order = batches.build(frames[frames <= batches.max_utterance_frames], shuffle=False, world_size=processes)
    return max(1, len(order) // accumulate)


def read_system(options: argparse.Namespace) -> System:
    """The system that the options describe, with the folders of networks that it is made from.

    Raises:
        InputError: a key at fault, or a network that is not there.
    """
    # A run that goes on with other processes has the steps that it was begun with.
    processes = number_of_processes()
    if not options.override:
        processes = Experiment(options.exp, writes=False).processes or processes
    epoch = functools.partial(steps_per_epoch, options.train_dir, processes=processes)
    system = load(options.config, options.size, options.set, epoch)
    method, name = options.config.stem, options.exp.name
    place = (options.exp, name.removeprefix(method) if name.startswith(method) else "", options.work_dir)
    if system.init is not None:
        begun = Experiment(options.exp, writes=False).training_file.exists()  # then nothing is loaded from it again
        exp = find_experiment(system.init.exp, "init.exp", *place, may_be_gone=begun)
        if not begun and (exp / CONFIG).is_file():
            require_alike(system, exp, "init.exp")
        system = system.model_copy(update={"init": system.init.model_copy(update={"exp": exp})})
    if isinstance(system, TransducerSystem) and isinstance(system.teacher, FrozenTeacherOptions):
        exp = find_experiment(system.teacher.exp, "teacher.exp", *place)
        system = system.model_copy(update={TEACHER: system.teacher.model_copy(update={"exp": exp})})
    if isinstance(system, TransducerSystem) and options.tokens is None:
        raise InputError("--tokens: a transducer needs the folder that `dualtk tokens` wrote")
    if isinstance(system, TransducerSystem) and is_first():
        tokenizer = Tokenizer(options.tokens)
        for text in (options.train_dir / "text", options.dev_dir / "text"):
            require_known(text, tokenizer.unknown_in(each_entry(text)), options.max_unknown)
    return system


def origin(options: argparse.Namespace, system: System, device: torch.device, digests: Digests) -> Origin:
    """Files that the run is made from, those of a frozen teacher among them."""
    places = {"training": options.train_dir, "dev": options.dev_dir}
    inputs: dict[str, Path | str] = {
        f"{name} features": features_digest(place, digests, system.features.source if name == "training" else "stored")
        for name, place in places.items()
    }
    inputs["cmvn"] = options.train_dir / "cmvn.ark"
    inputs |= {} if system.waveform is None else system.waveform.files()
    assets = {"fbank.json": options.train_dir / "fbank.json"}
    processes = number_of_processes()
    if isinstance(system, PretrainingSystem):
        return Origin(inputs, assets=assets, processes=processes)
    if isinstance(system.teacher, FrozenTeacherOptions):
        inputs |= {f"teacher.exp/{name}": system.teacher.exp / name for name in ("model.safetensors", "config.yaml")}
    inputs |= {"text": options.train_dir / "text", "dev text": options.dev_dir / "text"}
    inputs["tokens"] = options.tokens / "bpe.model"
    assets |= {f"lang/{name}": options.tokens / name for name in ("bpe.model", "bpe.vocab", "tokens.txt")}
    try:
        backend = chosen_backend(system.loss.backend, device.type, torch.float32)
    except ValueError as error:
        raise InputError(f"loss.backend: {error}") from error
    return Origin(inputs, backend, assets, processes)


def build_objective(
    options: argparse.Namespace, system: System, tokenizer: Tokenizer | None, experiment: Experiment
) -> Trainable:
    """What is trained: its network drawn from the seed, or begun with what `init` names."""
    require_statistics(options.train_dir)
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
            rows = Rows(tokenizer.pieces, network.token_parameters())
            initialise(network, system.init, experiment, rows)
        outputs = experiment.inside(TEACHER).folder
        objective = system.build_objective(network, frozen_teacher(system, network, outputs, tokenizer))
    if experiment.writes:
        count = sum(parameter.numel() for parameter in objective.networks()[""].parameters())
        logger.info("%d parameters%s", count, f", {tokenizer.vocab_size} tokens" if tokenizer else "")
    return objective


@dataclass(frozen=True)
class Lists:
    """Where the utterances of large sets are kept, by the process that is the first.

    Attributes:
        folder: of one list for each data directory.
        tokens: the file that targets follow from; None where there are none.
        here: this process.
    """

    folder: Path
    tokens: Path | None
    here: World

    def read(self, wanted: columns.Wanted) -> Selection:
        """The utterances of a set."""
        if not columns.is_large(wanted.directory):
            return wanted.select()
        folder = self.folder / hashlib.sha256(str(wanted.directory.resolve()).encode()).hexdigest()[:16]
        self.here.first(lambda: columns.keep(folder, wanted, self.tokens))
        return columns.kept(folder, wanted.directory)


def read_set(
    directory: Path,
    system: System,
    encode: Callable[[str], Sequence[int]] | None,
    shortest: int,
    longest: int | None = None,
    *,
    lists: Lists,
    cache: bool,
    most: int | None = None,
    source: Source = "stored",
    max_bad: int = 0,
) -> tuple[FeatureDataset, list[str]]:
    """At most so many utterances of a data directory, and a line on each that is longer than `longest` frames."""
    require_features(directory, system.features)
    if source == "stored" and (directory / "wav.scp").exists() and not (directory / "feats.scp").exists():
        raise InputError(
            f"{directory}: has no feats.scp; features.source=audio makes features of its audio in training"
        )
    selection = lists.read(columns.Wanted(directory, encode, shortest, longest, source))
    with enough_memory(f"{directory}: the features do not fit", "set batches.cache=false"):
        dim = system.features.dim if source == "audio" else None
        dataset = FeatureDataset(selection.spread(most), cache=cache, dim=dim, max_bad=max_bad)
    if dataset.dim != system.features.dim:
        raise InputError(
            f"{directory / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"those of the configuration {system.features.dim}"
        )
    return dataset, selection.dropped


def train(options: argparse.Namespace, system: System, stopping: Stopping, here: World) -> signal.Signals | None:
    """Train in the experiment folder, which nobody else writes to; returns the signal that ended it before its end."""
    shortest = require_buildable(system)
    experiment = Experiment(options.exp, here.is_main)
    tokenizer = Tokenizer(options.tokens) if isinstance(system, TransducerSystem) else None
    networks = {"": system}
    if isinstance(system, TransducerSystem) and (alone := system.teacher_alone()) is not None:
        networks[TEACHER] = alone
    with here.inside(experiment.held()):
        encode = None if tokenizer is None else tokenizer.encode
        lists = Lists(options.exp / LISTS, tokenizer.path if tokenizer else None, here)
        train_set, dropped = read_training_set(options.train_dir, system, encode, shortest, lists, options.max_bad)
        most, cache = system.train.max_valid_utterances, system.batches.cache
        valid_set, _ = read_set(
            options.dev_dir, system, encode, shortest, lists=lists, cache=cache, most=most, max_bad=options.max_bad
        )
        require_steps(system, train_set, here.size)
        cmvn = options.train_dir / "cmvn.ark"
        for one in (train_set, valid_set):
            if isinstance(one, FeatureDataset):  # else its features are made of audio here
                require_scale(one, read_cmvn(cmvn)[0], str(cmvn))

        def begin() -> None:
            sets = [place / contents.FILE for place in (options.train_dir, options.dev_dir)]
            digests = Digests(options.exp / contents.FILE, *sets)
            experiment.start(networks, origin(options, system, here.device, digests), options.override)
            digests.save()
            if not experiment.training_file.exists():
                (options.exp / bad.FILE).unlink(missing_ok=True)

        here.first(begin)
        more = [f"{options.train_dir}: {len(dropped)} utterances in all are left out"] if len(dropped) > NAMED else []
        unreached = [f"never reached: {line}" for line in system.unreached()]
        joined = train_set.describe(system.train.seed) if isinstance(train_set, DrawnUtterances) else []
        for line in [*dropped[:NAMED], *more, *joined, *unreached] if here.is_main else []:
            logger.warning(line)
        objective = build_objective(options, system, tokenizer, experiment)
        objective.module.to(here.device)
        if here.is_main and isinstance(objective, Objective) and tokenizer is not None:
            objective.labels_alone = without_audio(valid_set, shortest, tokenizer.vocab_size)
        leave_out = LeftOut(options.exp / bad.FILE, options.max_bad, options.exp)
        return Trainer(objective, system, train_set, valid_set, experiment, here, stopping, leave_out).train()


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
    directory: Path,
    system: System,
    encode: Callable[[str], Sequence[int]] | None,
    shortest: int,
    lists: Lists,
    max_bad: int,
) -> tuple[TrainingSet, list[str]]:
    """What is trained on, as stored or varied by `waveform` and `joining`, and a line on each that is too long."""
    source, longest = system.features.source, system.batches.max_utterance_frames
    cache = system.batches.cache and system.waveform is None and source == "stored"
    stored, dropped = read_set(
        directory, system, encode, shortest, longest, lists=lists, cache=cache, source=source, max_bad=max_bad
    )
    if system.waveform is None and system.joining is None and source == "stored":
        return stored, dropped
    return DrawnUtterances(stored, system, shortest), dropped


def draw_curves(exp: Path) -> None:
    """The figures of a training in `exp`/images; without matplotlib there are none, which is said."""
    try:
        from dualtk.analysis.curves import read_metrics, training_pictures
    except InputError as error:
        logger.info("no figures: %s", error)
        return
    for picture in training_pictures(read_metrics(exp / "metrics.jsonl"), "train"):
        picture.save(exp / "images")


def run_training(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Train by the options of `dualtk train`, which `arguments` were; returns the exit status."""
    if not launched():
        name = hashlib.sha256(str(options.exp.resolve()).encode()).hexdigest()[:16]
        meeting = (options.rendezvous, options.rendezvous_timeout, name)
        starting = agents(options.processes, options.num_nodes, *meeting, step())
        if starting is not None:
            read_system(options)  # what is wrong with it is said once, not by each process
            return launch(starting, "dualtk.bin.train", arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        with stoppable() as stopping, world(options.device, options.timeout, options.rendezvous_timeout) as here:
            number = train(options, read_system(options), stopping, here)
            if number is None and here.is_main:
                draw_curves(options.exp)
    except Interrupted as error:
        if is_first():
            print(f"dualtk: {error}: ended before the first step", file=sys.stderr)
        return error.status
    return 0 if number is None else status_of(number)
