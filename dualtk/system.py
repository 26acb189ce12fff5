"""A system: which options may meet, and the objective that they build.

A run is two passes over one batch, and the terms between them. What a YAML says of it is one of two classes here:
`TransducerSystem`, or, where the YAML has a section `pretraining`, `PretrainingSystem`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from dualtk.config import read_configuration, read_experiment, validate_layered
from dualtk.data.augment import AugmentOptions
from dualtk.data.sampler import BatchesOptions
from dualtk.data.tokens import TokenOptions
from dualtk.distill import AnyTermOptions
from dualtk.distill.teacher import (
    TEACHER,
    CoLearnedTeacherOptions,
    FrozenTeacher,
    FrozenTeacherOptions,
    Teacher,
    TeacherOptions,
)
from dualtk.encoders.wav2vec import Wav2VecOptions
from dualtk.errors import InputError
from dualtk.lm.folder import SECTION
from dualtk.objective import Objective
from dualtk.options import Section
from dualtk.plan import PassOptions
from dualtk.run_options import RunOptions, present
from dualtk.ssl.network import PretrainingNetwork
from dualtk.ssl.objective import Pretraining, PretrainingOptions
from dualtk.steps import NOMINAL_EPOCH, counts_epochs, in_steps
from dualtk.transducer.criterion import LossOptions
from dualtk.transducer.ctc import CTCOptions
from dualtk.transducer.model import ModelOptions, Transducer
from dualtk.yaml_tree import Layer, Layered

PRETRAINING = "pretraining"  # the section by which a file of pre-training is known


def _named(terms: Any) -> Any:
    """An entry of `terms` that does not say its `name` is of the kind that it is called after."""
    if not isinstance(terms, dict):
        return terms
    return {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in present(terms).items()}


class TransducerSystem(RunOptions):
    """Everything that a YAML says of a transducer and its training."""

    tokens: TokenOptions = TokenOptions()
    """What stage 2 makes of transcripts."""
    model: ModelOptions
    """The network."""
    loss: LossOptions
    """Of every pass."""
    ctc: CTCOptions | None = None
    """A CTC loss on the encoder beside it, with a head that all modes share."""
    teacher: TeacherOptions | None = None
    """A second network, whose pass is called `teacher`."""
    terms: Annotated[dict[str, AnyTermOptions], BeforeValidator(_named)] = Field(default={})
    """What is asked of one pass by another, by a name of one's own: that of the term, where there is one of a kind."""
    augment: AugmentOptions | None = None
    """What training does to features."""

    @model_validator(mode="before")
    @classmethod
    def _teacher_of_the_same_shape(cls, tree: Any) -> Any:
        """A separate teacher that does not say its model has the student's."""
        teacher = tree.get(TEACHER) if isinstance(tree, dict) else None
        if isinstance(teacher, dict) and teacher.get("name") == "separate" and teacher.get("model") is None:
            return {**tree, TEACHER: {**teacher, "model": tree.get("model")}}
        return tree

    @model_validator(mode="after")
    def _parts_agree(self) -> TransducerSystem:
        """Features fit the encoder, terms name passes, and what is sampled or frozen is not asked for more."""
        if isinstance(self.teacher, CoLearnedTeacherOptions) and self.teacher.mode.drawn:
            raise ValueError(f"{TEACHER}.mode.drawn: a teacher sees the same in every step")
        if self.teacher is not None and TEACHER in self.modes:
            raise ValueError(f"modes.{TEACHER}: that name is taken by the pass of the second network")
        _require_features(self.model.encoder, self.features)
        if self.features.kind == "samples" and self.augment is not None:
            for key in ("frequency_warp", "channel", "num_frequency_masks"):
                if getattr(self.augment, key):
                    raise ValueError(f"augment.{key}: raw samples have no frequencies to change; set it to 0")
        if isinstance(self.teacher, FrozenTeacherOptions) and self.teacher.cache:
            for key in ("augment", "waveform", "joining"):
                if getattr(self, key) is not None:
                    raise ValueError(f"teacher.cache: with {key} no utterance is the same twice; set {key}: null")
        if self.sampled_steps == "all" and len(self.passes) > 1 and (self.terms or self.teacher):
            section = "terms" if self.terms else TEACHER
            raise ValueError(
                f"{section}: with sampled_steps: all one pass runs in a step, so there is nothing to compare"
            )
        for key, term in self.terms.items():
            self._check_term(f"terms.{key}", term)
        taught = self.taught_model()
        if taught is not None:
            self.check_alike(taught.encoder, "that of the teacher")
        return self

    def _check_term(self, path: str, term: AnyTermOptions) -> None:
        """A term compares passes that there are, in ways that they can be compared."""
        if term.student not in self.passes:
            raise ValueError(f"{path}.student: no pass runs in mode {term.student}")
        if term.teacher == term.student:
            raise ValueError(f"{path}.teacher: {term.teacher} is the student too")
        if term.teacher == TEACHER and self.teacher is None:
            raise ValueError(f"{path}.teacher: there is no section `{TEACHER}`")
        if term.teacher != TEACHER and term.teacher not in self.passes:
            raise ValueError(f"{path}.teacher: no pass runs in mode {term.teacher}")
        if term.needs_joiner not in (None, self.model.joiner.name):
            raise ValueError(f"{path}: {term.name} needs the {term.needs_joiner} joiner, not {self.model.joiner.name}")
        if term.needs_ctc and self.ctc is None:
            raise ValueError(f"{path}: {term.name} compares CTC heads, and there is no section `ctc`")
        if term.teacher == TEACHER and isinstance(self.teacher, FrozenTeacherOptions):
            for key in ("symmetric", "reach_teacher"):
                if getattr(term, key, False):
                    raise ValueError(f"{path}.{key}: a frozen teacher does not learn")

    def check_alike(self, other: Section, whose: str) -> None:
        """Refuse a term that compares layers of the student and its teacher of which one has more, or wider ones.

        Args:
            other: the teacher's encoder; sizes that not both encoders name are compared in the first step.
            whose: where the options of that encoder are, for the error.

        Raises:
            InputError: names the term and both sizes.
        """
        for name, term in self.terms.items():
            for key in term.alike if term.teacher == TEACHER else ():
                own, there = getattr(self.model.encoder, key, None), getattr(other, key, None)
                if own is not None and there is not None and own != there:
                    raise InputError(
                        f"terms.{name}: {term.name} compares layers: model.encoder.{key} is {own}, {whose} {there}"
                    )

    def reads(self, what: str) -> bool:
        """Whether a term reads `hidden` or `heads` of the blocks."""
        return any(term.reads == what for term in self.terms.values())

    def starts(self) -> dict[str, int]:
        """See `RunOptions.starts`."""
        starts = {f"terms.{key}.start_step": term.start_step for key, term in self.terms.items()}
        if self.augment is not None:
            starts["augment.start_step"] = self.augment.start_step
        if self.ctc is not None and self.ctc.decay_steps:
            starts["ctc.decay_steps"] = self.ctc.decay_steps
        return {**super().starts(), **starts}

    def taught_model(self) -> ModelOptions | None:
        """The model of a teacher that learns beside the student."""
        return self.teacher.whole(self.model) if isinstance(self.teacher, CoLearnedTeacherOptions) else None

    def teacher_alone(self) -> TransducerSystem | None:
        """A teacher that learns beside the student, as a system of its own with the one mode "teacher"."""
        if not isinstance(self.teacher, CoLearnedTeacherOptions):
            return None
        alone = {"modes": {TEACHER: self.teacher.mode}, "passes": {TEACHER: PassOptions()}, "terms": {}}
        others = dict.fromkeys(("teacher", "init", "pruning"))
        return self.model_copy(update={"model": self.taught_model(), **alone, **others})

    def build_network(self, vocab_size: int, feature_mean: Tensor, feature_istd: Tensor) -> Transducer:
        """The transducer for tokens 0 (blank) to `vocab_size` - 1, with the masks of its sparse modes."""
        statistics = feature_mean, feature_istd
        network = self.model.build(list(self.modes), vocab_size, *statistics, with_ctc=self.ctc is not None)
        if self.pruning is not None:
            self.pruning.add_masks(network, self.mode_list())
        return network

    def build_objective(self, network: Transducer, frozen: FrozenTeacher | None = None) -> Objective:
        """The passes and terms over `network`, and its teacher.

        Args:
            network: what is trained.
            frozen: the teacher, where it is a trained network (`dualtk.trained.frozen_teacher`).

        Raises:
            InputError: the teacher's frames are not those of the student, or it has no CTC head where a term reads one.
        """
        criterion = self.loss.build(network)
        teacher: Teacher | None = frozen
        if isinstance(self.teacher, CoLearnedTeacherOptions):
            teacher = self.teacher.build(network, self.model, self.loss, return_heads=self.reads("heads"))
        if teacher is not None:
            there, own = teacher.network.encoder.subsampling, network.encoder.subsampling
            if there != own:
                raise InputError(f"teacher: its encoder subsamples by {there}, the student's by {own}")
            for key, term in self.terms.items():
                if term.needs_ctc and term.teacher == TEACHER and teacher.network.ctc is None:
                    raise InputError(f"terms.{key}: {term.name}: the teacher was trained without a section `ctc`")
        return Objective(
            network,
            criterion,
            self.build_plan(),
            [term.weighted(term.build(), f"terms.{key}") for key, term in self.terms.items()],
            ctc=None if self.ctc is None else self.ctc.build(),
            teacher=teacher,
            pruner=self.build_pruner(network),
            return_heads=self.reads("heads"),
            augment=None if self.augment is None else self.augment.build(),
        )


class EncoderAlone(Section):
    """A network before it has a predictor and a joiner; its encoder is one that can be pre-trained."""

    encoder: Wav2VecOptions
    """From samples to frames."""


class PretrainingSystem(RunOptions):
    """Everything that a YAML with a section `pretraining` says."""

    model: EncoderAlone
    """The network."""
    pretraining: PretrainingOptions
    """What is hidden, and what it is told from."""

    @model_validator(mode="after")
    def _parts_agree(self) -> PretrainingSystem:
        """Raw samples are what there is to learn from, and the encoder's own masks are not read in this task."""
        if self.model.encoder.latent_masks is not None:
            raise ValueError("model.encoder.latent_masks: for fine-tuning; those of this task are pretraining.masking")
        _require_features(self.model.encoder, self.features)
        return self

    def build_network(self, feature_mean: Tensor, feature_istd: Tensor) -> PretrainingNetwork:
        """The network that is pre-trained, with the masks of its sparse modes."""
        encoder = self.model.encoder.build(feature_mean.numel(), list(self.modes))
        network = self.pretraining.build_network(encoder, feature_mean, feature_istd)
        if self.pruning is not None:
            self.pruning.add_masks(network, self.mode_list())
        return network

    def build_objective(self, network: PretrainingNetwork) -> Pretraining:
        """The passes over `network`."""
        return self.pretraining.build(network, self.build_plan(), self.build_pruner(network))


System = TransducerSystem | PretrainingSystem


def _require_features(encoder: Any, features: Any) -> None:
    wanted = "samples" if isinstance(encoder, Wav2VecOptions) else None
    if wanted is not None and features.kind != wanted:
        raise ValueError(f"features.kind: the encoder {encoder.name} reads {wanted}, not {features.kind}")


def load(
    path: Path,
    size: Path | Layer | None = None,
    overrides: Sequence[str] = (),
    epoch_of: Callable[[BatchesOptions, int], int] | None = None,
) -> System:
    """The system that a YAML describes.

    Args:
        path: the YAML; see `dualtk.yaml_tree` for what it may be based on.
        size: stands for `$size` in it.
        overrides: `key.path=value` changes.
        epoch_of: steps in an epoch with these batches, so many of them a step; None: as of a nominal corpus.

    Raises:
        InputError: no YAML, or a key at fault, named by its path.
    """
    values = read_configuration(path, size, overrides)
    if epoch_of is None or not counts_epochs(values.tree):
        return parse(values)
    nominal = parse(values)
    return parse(values, epoch_of(nominal.batches, nominal.train.accumulate))


def load_experiment(folder: Path) -> System:
    """The system of an experiment folder.

    Raises:
        InputError: there is none, it holds a language model, or it was written by a dualtk whose folders were
            different.
    """
    values = read_experiment(folder)
    if SECTION in values.tree:
        raise InputError(f"{folder}: holds a language model, not a recogniser: it is for --lm")
    return parse(values)


def parse(values: Layered, steps_per_epoch: int = NOMINAL_EPOCH) -> System:
    """The system that the values of a configuration describe, where an epoch has so many steps."""
    values = values.with_values(in_steps(values.tree, steps_per_epoch))
    if values.tree.get(PRETRAINING) is not None:
        return validate_layered(PretrainingSystem, values)
    return validate_layered(TransducerSystem, values)


def require_transducer(system: System, source: str) -> TransducerSystem:
    """`system`, unless it is that of pre-training."""
    if isinstance(system, TransducerSystem):
        return system
    raise InputError(f"{source}: {PRETRAINING}: a network that is pre-trained, not a transducer")
