"""From configuration to objects: each section's fields become the keyword arguments of one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from torch import Tensor, nn

from dualtk import config as configuration
from dualtk.config import (
    Config,
    EncoderConfig,
    ExactLossConfig,
    FrozenTeacherConfig,
    JoinerConfig,
    LossConfig,
    LSTMPredictorConfig,
    ModelConfig,
    PredictorConfig,
    RunConfig,
    SharedDecoderTeacherConfig,
    TanhJoinerConfig,
    TermConfig,
)
from dualtk.data.augment import Augmentation
from dualtk.data.bpe import Wordpieces
from dualtk.distill.encoder_logits import EncoderLogits
from dualtk.distill.full_kl import FullKL
from dualtk.distill.heads import Heads
from dualtk.distill.hidden import HiddenVectors
from dualtk.distill.output_cache import OutputCache
from dualtk.distill.teacher import TEACHER, CoLearnedTeacher, FrozenTeacher, Teacher
from dualtk.distill.terms import Term, WeightedTerm
from dualtk.distill.three_way import ThreeWay
from dualtk.encoders.base import Encoder
from dualtk.encoders.conformer import conformer_encoder
from dualtk.encoders.contextnet import ContextNetEncoder
from dualtk.encoders.lstm import LSTMEncoder
from dualtk.encoders.transformer import transformer_encoder
from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.errors import InputError
from dualtk.files import digest
from dualtk.objective import Objective
from dualtk.plan import PassPlan, PlannedPass
from dualtk.pruning.masks import add_masks
from dualtk.pruning.packing import read_tensors
from dualtk.pruning.patterns import parse_pattern
from dualtk.pruning.pruner import Pruner
from dualtk.pruning.schedule import SparsitySchedule
from dualtk.transducer.criterion import Criterion, ExactLoss, PrunedLoss
from dualtk.transducer.joiner import AdditiveJoiner, Joiner, TanhJoiner
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import LSTMPredictor, Predictor, StatelessPredictor

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "conformer": conformer_encoder,
    "contextnet": ContextNetEncoder,
    "transformer": transformer_encoder,
    "lstm": LSTMEncoder,
    "wav2vec": Wav2VecEncoder,
}
TERMS: dict[str, Callable[..., Term]] = {
    "three_way": ThreeWay,
    "encoder_logits": EncoderLogits,
    "hidden": HiddenVectors,
    "heads": Heads,
    "full_kl": FullKL,
}
ALIKE = {"hidden": ("num_layers", "dim"), "heads": ("num_layers", "dim", "num_heads")}  # in what a term compares


def build_encoder(section: EncoderConfig, num_mels: int, mode_names: list[str]) -> Encoder:
    """The encoder, with one set of norms for each mode."""
    return ENCODERS[section.name](input_dim=num_mels, mode_names=mode_names, **section.arguments())


def build_predictor(section: PredictorConfig, vocab_size: int) -> Predictor:
    """The predictor."""
    if isinstance(section, LSTMPredictorConfig):
        return LSTMPredictor(vocab_size, **section.arguments())
    return StatelessPredictor(vocab_size, **section.arguments())


def build_joiner(section: JoinerConfig, encoder_dim: int, predictor_dim: int, vocab_size: int) -> Joiner:
    """The joiner."""
    if isinstance(section, TanhJoinerConfig):
        return TanhJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **section.arguments())
    return AdditiveJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **section.arguments())


def build_network(config: Config, vocab_size: int, feature_mean: Tensor, feature_istd: Tensor) -> Transducer:
    """The transducer of `config`, for wordpieces 0 (blank) to `vocab_size` - 1, with the masks of its sparse modes."""
    network = _transducer(config.model, list(config.modes), vocab_size, feature_mean, feature_istd)
    if config.pruning is not None:
        add_masks(network, config.mode_list(), straight_through=not config.pruning.update_only_kept)
    return network


def _transducer(model: ModelConfig, mode_names: list[str], vocab_size: int, mean: Tensor, istd: Tensor) -> Transducer:
    encoder = build_encoder(model.encoder, mean.numel(), mode_names)
    predictor = build_predictor(model.predictor, vocab_size)
    joiner = build_joiner(model.joiner, encoder.output_dim, predictor.output_dim, vocab_size)
    return Transducer(encoder, predictor, joiner, mean, istd)


def build_criterion(section: LossConfig, network: Transducer) -> Criterion:
    """The loss of a pass."""
    if isinstance(section, ExactLossConfig):
        return ExactLoss(**section.arguments())
    return PrunedLoss(
        network.encoder.output_dim, network.predictor.output_dim, network.joiner.vocab_size, **section.arguments()
    )


def build_shared_decoder_teacher(
    section: SharedDecoderTeacherConfig, config: Config, network: Transducer
) -> Transducer:
    """An encoder of its own before the predictor and the joiner of `network`; only its projection is its own."""
    encoder = build_encoder(section.encoder, network.encoder.input_dim, [TEACHER])
    ours = network.joiner
    joiner = build_joiner(config.model.joiner, encoder.output_dim, network.predictor.output_dim, ours.vocab_size)
    joiner.predictor = ours.predictor
    if isinstance(joiner, TanhJoiner) and ours.output is not None:
        joiner.output = ours.output
    return Transducer(encoder, network.predictor, joiner, network.feature_mean, network.feature_istd)


def build_frozen_teacher(
    section: FrozenTeacherConfig,
    student: Config,
    network: Transducer,
    outputs: Path | None,
    wordpieces: Wordpieces | None,
) -> FrozenTeacher:
    """The trained network of an experiment folder, with its own configuration; `outputs` and `wordpieces` as in
    `build_objective`.

    Raises:
        InputError: it is not an experiment that finished an evaluation, or it does not fit the student.
    """
    config = configuration.load(section.exp / "config.yaml")
    path = section.exp / "model.safetensors"
    tensors = read_tensors(path)
    if section.mode not in config.modes:
        raise InputError(f"teacher.mode: {section.exp} has no mode {section.mode}; its modes are {list(config.modes)}")
    if config.features.kind != student.features.kind:
        raise InputError(
            f"teacher.exp: {section.exp} hears {config.features.kind}, the student {student.features.kind}"
        )
    vocab_size, ours = tensors["predictor.embedding.weight"].shape[0], network.joiner.vocab_size
    if vocab_size != ours:
        raise InputError(f"teacher.exp: {section.exp} has {vocab_size} wordpieces, the student {ours}")
    if wordpieces is not None:
        check_wordpieces(section.exp / "lang/tokens.txt", wordpieces)
    check_terms(student, config.model.encoder, f"that of teacher.exp {section.exp}")
    num_mels = tensors["feature_mean"].numel()
    if num_mels != network.encoder.input_dim:
        raise InputError(f"teacher.exp: {section.exp} takes {num_mels} mels, the student {network.encoder.input_dim}")
    teacher = build_network(config, vocab_size, tensors["feature_mean"], tensors["feature_istd"])
    try:
        teacher.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: made with another configuration: {str(error).splitlines()[-1].strip()}") from error
    mode = config.modes[section.mode].mode(section.mode)
    return FrozenTeacher(
        teacher,
        mode,
        network.feature_mean,
        network.feature_istd,
        return_heads=reads(student, "heads"),
        cache=build_output_cache(section, student, teacher, outputs) if section.cache else None,
    )


def check_wordpieces(path: Path, wordpieces: Wordpieces) -> None:
    """Refuse a teacher whose classes are not the student's; `path` is the tokens.txt of its experiment.

    Raises:
        InputError: a wordpiece differs, or the file cannot be read.
    """
    try:
        theirs = [line.rpartition(" ")[0] for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"teacher.exp: {path}: not a list of wordpieces: {error}") from error
    for index, (ours, other) in enumerate(zip_longest(wordpieces.pieces, theirs)):
        if ours != other:
            raise InputError(f"teacher.exp: wordpiece {index} is {other} in {path}, {ours} in {wordpieces.path}")


def check_terms(student: Config, theirs: EncoderConfig, whose: str) -> None:
    """Refuse a term that compares layers of the student and its teacher of which one has more, or wider ones.

    Args:
        student: its configuration.
        theirs: the teacher's encoder; sizes that not both encoders name are compared in the first step.
        whose: where the configuration of that encoder is, for the error.

    Raises:
        InputError: names the term and both sizes.
    """
    for index, term in enumerate(student.terms):
        for key in ALIKE.get(term.name, ()) if term.teacher == TEACHER else ():
            ours, other = getattr(student.model.encoder, key, None), getattr(theirs, key, None)
            if ours is not None and other is not None and ours != other:
                raise InputError(
                    f"terms.{index}: {term.name} compares layers: model.encoder.{key} is {ours}, {whose} {other}"
                )


def build_output_cache(
    section: FrozenTeacherConfig, student: Config, teacher: Transducer, outputs: Path | None
) -> OutputCache:
    """A folder below `outputs` for this teacher and what is kept of it; another checkpoint gets another folder.

    Raises:
        InputError: there is no folder for outputs here.
    """
    if outputs is None:
        raise InputError("teacher.cache: only a training run has a folder for the teacher's outputs")
    kept = {term: reads(student, term) for term in ("hidden", "heads")}
    options = {"mode": section.mode, "precision": student.train.precision, **kept}
    key = digest([section.exp / "config.yaml", section.exp / "model.safetensors"], options)
    return OutputCache(outputs / key[:16], teacher.encoder.subsampling, keep_hidden=kept["hidden"])


def reads(config: Config, term: str) -> bool:
    """Whether a term of this name is computed."""
    return any(section.name == term for section in config.terms)


def build_teacher(
    config: Config, network: Transducer, outputs: Path | None, wordpieces: Wordpieces | None
) -> Teacher | None:
    """The second network, where `config` asks for one; `outputs` and `wordpieces` as in `build_objective`.

    Raises:
        InputError: its frames, layers or classes are not those of the student.
    """
    section = config.teacher
    if section is None:
        return None
    teacher: Teacher
    if isinstance(section, FrozenTeacherConfig):
        teacher = build_frozen_teacher(section, config, network, outputs, wordpieces)
    else:
        if isinstance(section, SharedDecoderTeacherConfig):
            check_terms(config, section.encoder, "that of teacher.encoder")
            taught = build_shared_decoder_teacher(section, config, network)
        else:
            model, vocab_size = section.model or config.model, network.joiner.vocab_size
            check_terms(config, model.encoder, "that of teacher.model.encoder")
            taught = _transducer(model, [TEACHER], vocab_size, network.feature_mean, network.feature_istd)
        teacher = CoLearnedTeacher(
            taught,
            build_criterion(config.loss, taught),
            section.mode.mode(TEACHER),
            section.weight,
            return_heads=reads(config, "heads"),
        )
    theirs, ours = teacher.network.encoder.subsampling, network.encoder.subsampling
    if theirs != ours:
        raise InputError(f"teacher: its encoder subsamples by {theirs}, the student's by {ours}")
    return teacher


def build_terms(sections: Sequence[TermConfig]) -> list[WeightedTerm]:
    """Distillation terms with their weights."""
    return [
        WeightedTerm(
            TERMS[section.name](**section.arguments()),
            section.student,
            section.teacher,
            section.weight,
            section.start_step,
            section.warmup_steps,
            key=f"terms.{index}",
        )
        for index, section in enumerate(sections)
    ]


def build_pruner(config: RunConfig, network: nn.Module) -> Pruner | None:
    """What draws the masks of sparse modes, where there are any.

    Raises:
        InputError: a sparse mode without masks, masks without a sparse mode, or a sandwich without a filling.
    """
    section, modes = config.pruning, {mode.name: mode for mode in config.mode_list()}
    if section is None:
        for mode in modes.values():
            if mode.sparsity > 0:
                raise InputError(f"modes.{mode.name}.sparsity: there is no section `pruning`")
        return None
    runs = [modes[one.mode] for one in config.passes]
    sampled = isinstance(config, Config) and config.sampling is not None
    if section.sandwich and (sampled or sum(not mode.full_context for mode in runs) < 4):
        raise InputError("pruning.sandwich: needs at least four streaming passes, and no sampling")
    return Pruner(
        network,
        list(modes.values()),
        parse_pattern(section.pattern),
        section.scope,
        SparsitySchedule(**section.schedule.arguments()),
        section.regrow,
    )


def build_plan(config: RunConfig) -> PassPlan:
    """Which passes a step runs; those of pre-training are never sampled."""
    modes = {mode.name: mode for mode in config.mode_list()}
    return PassPlan(
        [PlannedPass(modes[one.mode], one.weight) for one in config.passes],
        sampling=config.sampling if isinstance(config, Config) else None,
        sampling_steps=config.sampling_steps if isinstance(config, Config) else None,
        sandwich=config.pruning is not None and config.pruning.sandwich,
        seed=config.train.seed,
    )


def build_objective(
    config: Config, network: Transducer, outputs: Path | None = None, wordpieces: Wordpieces | None = None
) -> Objective:
    """The passes and terms of `config` over `network`, and its teacher.

    Args:
        config: of the system.
        network: what is trained.
        outputs: folder in which a frozen teacher's outputs may be kept.
        wordpieces: of the targets; a frozen teacher must have the same. None where only their number is known.
    """
    return Objective(
        network,
        build_criterion(config.loss, network),
        build_plan(config),
        build_terms(config.terms),
        teacher=build_teacher(config, network, outputs, wordpieces),
        pruner=build_pruner(config, network),
        return_heads=reads(config, "heads"),
        augment=None if config.augment is None else Augmentation(**config.augment.arguments()),
    )
