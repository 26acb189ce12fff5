"""A trained network and all that belongs to it: the one way to load an experiment folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch

from dualtk.checksums import require_unaltered
from dualtk.config import FILE as CONFIG
from dualtk.config import VERSIONS, read_experiment
from dualtk.data.kinds import compare_features, features_options, frame_fields
from dualtk.data.scale import compare_means
from dualtk.data.tokens import Tokenizer
from dualtk.distill.output_cache import OutputCache
from dualtk.distill.teacher import FrozenTeacher, FrozenTeacherOptions
from dualtk.errors import InputError
from dualtk.files import digest
from dualtk.modes import Mode, seen_otherwise
from dualtk.pruning.packing import read_tensors
from dualtk.system import System, TransducerSystem, load_experiment, require_transducer
from dualtk.tensors import fill_network
from dualtk.train.experiment import Experiment
from dualtk.transducer.model import Transducer


@dataclass(frozen=True)
class Trained:
    """A trained transducer, in evaluation mode.

    Attributes:
        folder: its experiment folder.
        system: what it was trained as.
        network: with its weights.
        tokenizer: between text and its classes.
    """

    folder: Path
    system: TransducerSystem
    network: Transducer
    tokenizer: Tokenizer

    def mode(self, name: str) -> Mode:
        """The mode called `name`, or `name@CHUNK` or `name@CHUNK-LEFT`: that mode with another chunk or left context.

        Raises:
            InputError: it has no such mode; says which it has.
        """
        known, at, seen = name.partition("@")
        if known not in self.system.modes:
            raise InputError(f"{self.folder}: has no mode {known}; its modes are {', '.join(self.system.modes)}")
        mode = self.system.modes[known].mode(known)
        return seen_otherwise(mode, seen) if at else mode


def load(folder: Path, tokens: Path | None = None) -> Trained:
    """The network that an experiment folder keeps for decoding.

    Args:
        folder: of the experiment.
        tokens: folder of its tokens; None: `lang` in the experiment folder.

    Raises:
        InputError: no experiment that finished a validation, or its parts do not fit together.
    """
    require_unaltered(folder)  # a model folder of `dualtk pack` says what its files are
    system = require_transducer(load_experiment(folder), str(folder))
    tokenizer = _own_tokens(folder, tokens)
    dim = system.features.dim
    with torch.random.fork_rng(devices=[]):  # weights are drawn here only to be replaced
        network = system.build_network(tokenizer.vocab_size, torch.zeros(dim), torch.ones(dim))
    file = Experiment(folder, writes=False).network_file
    fill_network(network, read_tensors(file), file)  # of `dualtk extract` too
    network.eval()
    return Trained(folder, system, network, tokenizer)


def _own_tokens(folder: Path, tokens: Path | None) -> Tokenizer:
    """The tokens of an experiment, or those of another folder if they are the same.

    Raises:
        InputError: they are others than those that it was trained with; names the first that differs where it is known.
    """
    own = folder / "lang"
    tokenizer = Tokenizer(tokens or own)
    if tokens is not None and own.is_dir():
        kept = Tokenizer(own)
        if (difference := _first_difference(tokenizer, kept)) is not None:
            raise InputError(f"{tokens}: {difference}, with which {folder} was trained")
        tokenizer = kept
    known = trained_inputs(folder).get("tokens")
    if known is not None and tokenizer.path.name == "bpe.model" and digest([tokenizer.path]) != known:
        raise InputError(f"{tokenizer.path}: is not the one that {folder} was trained with, by {folder / VERSIONS}")
    return tokenizer


def trained_inputs(folder: Path) -> dict[str, str]:
    """Digests of what an experiment was trained on, by name; none where nothing is known of that."""
    path = folder / VERSIONS
    if not path.is_file():
        return {}
    try:
        inputs: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        return dict(inputs)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not what training wrote: {error}") from error


def _first_difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """The first token in which two sets of tokens differ, or that only one has."""
    for index, (here, there) in enumerate(zip_longest(one.pieces, other.pieces)):
        if here != there:
            return f"token {index} is {here} in {one.path}, {there} in {other.path}"
    return None


def require_alike(system: System, exp: Path, key: str) -> None:
    """Refuse a trained network, which `key` names, that reads other features than `system` does.

    Raises:
        InputError: names its configuration, the key that differs and both values.
    """
    made = frame_fields(features_options(read_experiment(exp).tree.get("features", {}), exp / CONFIG))
    compare_features(made, system.features, f"{key}: {exp / CONFIG}", "this configuration")


def find_experiment(
    exp: Path, key: str, beside: Path, ending: str, work_dir: Path | None, *, may_be_gone: bool = False
) -> Path:
    """The experiment that the option `key` names.

    Args:
        exp: as the configuration says it. `exp/NAME` is looked for beside the experiment that needs it, first with its
            ending: a student at another size finds the teacher of that size.
        key: for the error.
        beside: folder of the experiment that needs it.
        ending: what the name of that folder has behind that of its method, such as `_cpu`.
        work_dir: where else a relative path is looked for.
        may_be_gone: nothing will be read from it.

    Raises:
        InputError: it is not there; says what trains it.
    """
    places = [exp] if work_dir is None else [exp, work_dir / exp]
    if exp.parts[:1] == ("exp",):
        places = [beside.parent / f"{exp.name}{ending}", beside.parent / exp.name, *places]
    for place in places:
        if place.exists():
            return place.absolute()
    if may_be_gone:
        return places[0].absolute()
    if exp.suffix:
        raise InputError(f"{key}: no such file: {' and '.join(str(place) for place in places)}")
    raise InputError(f"{key}: no {places[0]}: train it first, by run.sh with --conf {exp.name}, or --set {key}=DIR")


def frozen_teacher(
    system: TransducerSystem, network: Transducer, outputs: Path, tokenizer: Tokenizer
) -> FrozenTeacher | None:
    """The trained teacher of `system`, where it asks for one.

    Args:
        system: of the student.
        network: the student.
        outputs: folder in which the teacher's outputs may be kept.
        tokenizer: of the targets; the teacher must have the same tokens.

    Raises:
        InputError: it is not an experiment that finished a validation, or it does not fit the student.
    """
    options = system.teacher
    if not isinstance(options, FrozenTeacherOptions):
        return None
    teacher = load(options.exp)
    mode = teacher.mode(options.mode)
    require_alike(system, options.exp, "teacher.exp")
    weights = options.exp / "model.safetensors"
    compare_means(teacher.network.feature_mean, network.feature_mean, f"teacher.exp: {weights}", "the training set")
    if (difference := _first_difference(teacher.tokenizer, tokenizer)) is not None:
        raise InputError(f"teacher.exp: {difference}")
    system.check_alike(teacher.system.model.encoder, f"that of teacher.exp {options.exp}")
    return FrozenTeacher(
        teacher.network,
        mode,
        network.feature_mean,
        network.feature_istd,
        return_heads=system.reads("heads"),
        cache=_output_cache(options, system, teacher.network, outputs) if options.cache else None,
    )


def _output_cache(
    options: FrozenTeacherOptions, student: TransducerSystem, teacher: Transducer, outputs: Path
) -> OutputCache:
    """A folder below `outputs` for this teacher and what is kept of it; another checkpoint gets another folder."""
    kept = {what: student.reads(what) for what in ("hidden", "heads")}
    facts = {"mode": options.mode, "precision": student.train.precision, **kept}
    key = digest([options.exp / "config.yaml", options.exp / "model.safetensors"], facts)
    return OutputCache(outputs / key[:16], teacher.encoder.subsampling, keep_hidden=kept["hidden"])
