"""The tensors that a network begins with, taken from one that was trained before, and a record of what was not.

Tokens, modes and tasks may differ: whatever has the same name and shape is taken, and of what has a row for each token
the rows of the tokens that both have. Masks are not: they belong to the schedule of a run, which draws its own from the
weights that it begins with.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dualtk.config import read_experiment
from dualtk.data.scale import compare_means
from dualtk.data.tokens import Tokenizer
from dualtk.encoders.latent_masks import LatentMasks
from dualtk.encoders.wav2vec import Wav2VecEncoder, Wav2VecKind
from dualtk.encoders.wav2vec_weights import from_torchaudio, is_wav2vec
from dualtk.errors import InputError
from dualtk.files import digest, write_text
from dualtk.nn.masked import MaskedLinear
from dualtk.options import Section
from dualtk.pruning.packing import read_tensors
from dualtk.tensors import Tensors, read_state_dict
from dualtk.train.experiment import Experiment
from dualtk.train.freezing import FreezeOptions

logger = logging.getLogger("dualtk")

MAX_NAMED = 20  # tensors that a log line names
# In pre-training the vector that stands for masked frames is the task's; in fine-tuning it is the encoder's.
KEY_ALIASES = {"encoder.latent_masks.embedding": "mask_embedding"}
NORM = re.compile(r"(?P<before>.*\bnorms\.)(?P<mode>[^.]+)(?P<after>\..*)")


class InitOptions(Section):
    """A trained network from which another begins: every tensor whose name and shape fit is taken, once."""

    exp: Path
    """An experiment folder, or a file in torchaudio's wav2vec2 names (safetensors, or what torch.save wrote)."""
    freeze: list[FreezeOptions] = Field(default=[])
    """Parts that first stay as they were loaded."""

    @model_validator(mode="after")
    def _each_part_once(self) -> InitOptions:
        modules = [part.module for part in self.freeze]
        for index, module in enumerate(modules):
            if module in modules[:index]:
                raise ValueError(f"freeze.{index}.module: {module} is there twice")
        return self


@dataclass(frozen=True)
class Source:
    """What is there to take.

    Attributes:
        path: what `init.exp` names.
        tensors: by the names that they have here.
        full_modes: the modes that see the whole utterance.
        foreign: names in the file that have no counterpart here.
        kind: of its encoder, where it is one of wav2vec 2.0.
        pieces: its tokens, blank first, where it has any.
    """

    path: Path
    tensors: Tensors
    full_modes: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()
    kind: Wav2VecKind | None = None
    pieces: tuple[str, ...] = ()


@dataclass
class Inheritance:
    """What became of each tensor of a network.

    Attributes:
        taken: name here -> name in the source.
        norms_from_other_mode: (mode here, mode in the source) -> number of tensors of norms that the source has for
            other modes only.
        left: name here -> why it was not taken.
        positions: (here, in the source) what the encoders of wav2vec 2.0 know of positions, where it differs.
        new_tokens: those here that the source does not have.
    """

    taken: dict[str, str] = field(default_factory=dict)
    norms_from_other_mode: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: dict[str, str] = field(default_factory=dict)
    positions: tuple[str, str] | None = None
    new_tokens: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """The tokens of a network, blank first, and the names of its parameters that have a row for each."""

    pieces: Sequence[str] = ()
    parameters: Collection[str] = ()


NO_ROWS = Rows()


def read_source(path: Path) -> Source:
    """What `init.exp` names.

    Raises:
        InputError: neither a trained experiment nor a file with the tensors of a wav2vec 2.0 network.
    """
    if path.is_dir():
        return _read_experiment(path)
    if not path.exists():
        raise InputError(f"init.exp: {path}: no such folder or file")
    tensors = read_state_dict(path)
    if not is_wav2vec(tensors):
        raise InputError(
            f"init.exp: {path}: not a wav2vec 2.0 network of torchaudio; of an experiment, name the folder"
        )
    renamed = from_torchaudio(tensors)
    return Source(
        path,
        {f"encoder.{key}": value for key, value in renamed.tensors.items()},
        foreign=tuple(renamed.left),
        kind=renamed.kind,
    )


def _read_experiment(path: Path) -> Source:
    trained = Experiment(path, writes=False)
    for file in (trained.network_file, trained.config_file):
        if not file.is_file():
            raise InputError(f"init.exp: {path}: not a trained experiment: it has no {file.name}")
    config = read_experiment(path).tree
    try:
        full = frozenset(name for name, mode in config["modes"].items() if mode["full_context"])
        encoder, kind = config["model"]["encoder"], None
        if encoder["name"] == "wav2vec":
            kind = Wav2VecKind(encoder["extractor_norm"], encoder["pre_norm"], encoder["positions"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"init.exp: {trained.config_file}: not the configuration of a network: {error}") from error
    lang = path / "lang"
    pieces = tuple(Tokenizer(lang).pieces) if lang.is_dir() else ()
    return Source(path, read_tensors(trained.network_file), full, kind=kind, pieces=pieces)


def _is_mask(key: str) -> bool:
    layer, _, name = key.rpartition(".")
    return layer != "" and name.startswith(MaskedLinear.PREFIX)


def _lender(key: str, source: Source) -> tuple[str, str, str] | None:
    """For a norm of a mode that the source lacks: mode here, mode in the source and the tensor's name there."""
    parts = NORM.fullmatch(key)
    if parts is None:
        return None
    same = re.compile(re.escape(parts["before"]) + r"(?P<mode>[^.]+)" + re.escape(parts["after"]))
    there = {found["mode"]: name for name in source.tensors if (found := same.fullmatch(name))}
    for mode, name in there.items():
        if len(there) == 1 or mode in source.full_modes:
            return parts["mode"], mode, name
    return None


def inherit(network: nn.Module, source: Source, rows: Rows = NO_ROWS) -> Inheritance:
    """Copy every tensor of `source` whose name and shape fit into `network`.

    Of tensors with a row for each token, those of tokens that the source has too; the others stay as they were drawn.
    A norm of a mode that the source lacks takes the tensors of the source's only mode, or of its full-context one. The
    statistics that features are normalised with are taken too: the weights know no others.

    Raises:
        InputError: no parameter fits, or the encoders' norms are of two kinds.
    """
    found = Inheritance(positions=_compare_kinds(network, source))
    tokens = _Tokens(rows, source.pieces)
    found.new_tokens = tokens.new
    for key, own in network.state_dict().items():
        if _is_mask(key):
            continue
        name, lender = key, None
        if key not in source.tensors and key in KEY_ALIASES:
            name = KEY_ALIASES[key]
        elif key not in source.tensors and (lender := _lender(key, source)) is not None:
            name = lender[2]
        there = source.tensors.get(name)
        if there is None:
            found.left[key] = "not there"
        elif tokens.have_rows_of(key, own, there):
            tokens.copy_rows(own, there)
            found.taken[key] = name
        elif there.shape != own.shape:
            found.left[key] = f"{_shape(there)} there, {_shape(own)} here"
        else:
            with torch.no_grad():
                own.copy_(there)
            found.taken[key] = name
            if lender is not None:
                found.norms_from_other_mode[lender[:2]] += 1
    if not any(key in found.taken for key, _ in network.named_parameters()):
        raise InputError(f"init.exp: {source.path}: none of its tensors fits this network")
    return found


class _Tokens:
    """The rows of tensors that belong to tokens, where those here are not those of the source."""

    def __init__(self, rows: Rows, source: Sequence[str]) -> None:
        here, there = list(rows.pieces), list(source)
        differ = bool(here and there) and here != there
        self.keys = rows.parameters if differ else ()
        self.sizes = len(here), len(there)
        places = {piece: place for place, piece in enumerate(there)}
        self.common = [(row, places[piece]) for row, piece in enumerate(here) if piece in places]
        self.new = [piece for piece in here if piece not in places] if differ else []

    def have_rows_of(self, key: str, own: Tensor, there: Tensor) -> bool:
        """Whether a tensor has a row for each token, here and in the source, and rows of the same shape."""
        return key in self.keys and (len(own), len(there)) == self.sizes and own.shape[1:] == there.shape[1:]

    def copy_rows(self, own: Tensor, there: Tensor) -> None:
        """Those of the tokens that both have."""
        with torch.no_grad():
            for row, place in self.common:
                own[row] = there[place]


def _compare_kinds(network: nn.Module, source: Source) -> tuple[str, str] | None:
    """Positions here and in the source, where they differ: the other weights are worth having all the same.

    Norms have to be alike: those over channels and over time have the same names and shapes, so that one would be taken
    for the other, and a block whose norms stand elsewhere computes something else.
    """
    here = next((one.kind for one in network.modules() if isinstance(one, Wav2VecEncoder)), None)
    there = source.kind
    if here is None or there is None:
        return None
    for key in ("extractor_norm", "pre_norm"):
        own, other = getattr(here, key), getattr(there, key)
        if own != other:
            raise InputError(f"model.encoder.{key}: {own}, but {source.path} was trained with {other}")
    return None if here.positions == there.positions else (here.positions, there.positions)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def summary(found: Inheritance, source: Source) -> list[str]:
    """Lines for the log: how much was taken, the norms of which modes, and what was not."""
    lines = [f"{len(found.taken)} of {len(found.taken) + len(found.left)} tensors from {source.path}"]
    for (here, there), count in found.norms_from_other_mode.items():
        lines.append(f"norms of mode {here} are those of the source's mode {there} ({count} tensors)")
    if found.new_tokens:
        shown = " ".join(found.new_tokens[:MAX_NAMED]) + (" ..." if len(found.new_tokens) > MAX_NAMED else "")
        lines.append(f"tokens that the source does not have, {len(found.new_tokens)}: {shown}")
    if found.positions is not None:
        here, there = found.positions
        lines.append(f"model.encoder.positions: {here}; those of {source.path}, {there}, are not loaded")
    if found.left:
        parts = Counter(key.partition(".")[0] for key in found.left)
        named = [f"{key} ({why})" for key, why in found.left.items()]
        more = [] if len(named) <= MAX_NAMED else [f"and {len(named) - MAX_NAMED} more, all in init.txt"]
        counts = ", ".join(f"{part} {count}" for part, count in parts.items())
        lines.append(f"not loaded: {counts}: {', '.join([*named[:MAX_NAMED], *more])}")
    return lines


def record(found: Inheritance, source: Source) -> str:
    """The whole list, for `init.txt`: each tensor here with where it came from or why not, and what was not used."""
    file = source.path if source.path.is_file() else Experiment(source.path, writes=False).network_file
    lines = [f"source {source.path} digest {digest([file])}"]
    lines += [f"loaded {key}" + (f" from {name}" if name != key else "") for key, name in found.taken.items()]
    lines += [f"left {key}: {why}" for key, why in found.left.items()]
    lines += [f"new token {piece}" for piece in found.new_tokens]
    used = set(found.taken.values())
    unused = [name for name in source.tensors if name not in used and not _is_mask(name)]
    lines += [f"unused {name}" for name in [*unused, *source.foreign]]
    return "\n".join(lines) + "\n"


def _require_loaded(network: nn.Module, found: Inheritance, section: InitOptions, source: Source) -> None:
    """What is held holds what was loaded; numbers that were drawn would stay for as long."""
    unread = _unread(network)
    for index, part in enumerate(section.freeze):
        inside = [key for key, _ in network.named_parameters() if key.startswith(f"{part.module}.")]
        drawn = [key for key in inside if key in found.left and key not in unread]
        if drawn:
            raise InputError(
                f"init.freeze.{index}.module: not all of {part.module} was loaded from {source.path}; {len(drawn)} of "
                f"its {len(inside)} parameters would be held as they were drawn, the first {drawn[0]} "
                f"({found.left[drawn[0]]})"
            )


def _unread(network: nn.Module) -> set[str]:
    """Parameters that no step reads: vectors for masked frames where no frame is masked.

    Networks that were trained without masks lack this vector. Where frames are masked it has to learn, so that it may
    not be held as it was drawn: name the parts beside it.
    """
    return {
        f"{name}.embedding"
        for name, module in network.named_modules()
        if isinstance(module, LatentMasks) and module.time.probability == 0
    }


def initialise(network: nn.Module, section: InitOptions, experiment: Experiment, rows: Rows = NO_ROWS) -> None:
    """Fill `network` from the source that `section` names; `rows` says what of it belongs to tokens.

    What was not loaded goes to the log and to `init.txt`.

    Raises:
        InputError: no such source, nothing in it fits, its features have another scale, or a part is to be held that
            was not loaded whole.
    """
    source = read_source(section.exp)
    own, there = network.state_dict().get("feature_mean"), source.tensors.get("feature_mean")
    if own is not None and there is not None:
        compare_means(there, own, f"init.exp: {source.path}", "the training set")
    found = inherit(network, source, rows)
    _require_loaded(network, found, section, source)
    if experiment.writes:
        write_text(experiment.folder / "init.txt", record(found, source))
        for line in summary(found, source):
            logger.info("init: %s", line)
