"""YAML to typed configuration: unknown, missing or mistyped keys are refused with their path.

The sections mirror the house: `model`, `modes`, `passes`, `terms`, `loss` are what a paper describes; the rest is how
it is trained. A field's name is the keyword argument of the block that it reaches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dualtk.errors import InputError
from dualtk.modes import Mode


class Section(BaseModel):
    """A part of the configuration: no extra keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def arguments(self) -> dict[str, Any]:
        """The fields as keyword arguments, without the tag `name`."""
        return {key: value for key, value in self if key != "name"}


class ConformerConfig(Section):
    """`dualtk.encoders.conformer.ConformerEncoder`."""

    name: Literal["conformer"]
    dim: int = 256
    num_layers: int = 16
    num_heads: int = 4
    feedforward_dim: int = 1024
    kernel: int = 31
    dropout: float = 0.1
    subsampling_channels: int | None = None
    subsampling: Literal["convolution", "stacking"] = "convolution"
    subsampling_factor: int = Field(default=4, ge=1)
    convolution_norm: Literal["batch", "layer"] = "batch"
    positions: Literal["relative", "rotary", "none"] = "relative"
    checkpoint: bool = False

    def arguments(self) -> dict[str, Any]:
        """Without what the encoder may choose itself."""
        return {key: value for key, value in super().arguments().items() if value is not None}


class ContextNetConfig(Section):
    """`dualtk.encoders.contextnet.ContextNetEncoder`."""

    name: Literal["contextnet"]
    alpha: float = 1.0
    kernel: int = 5
    dropout: float = 0.1
    layers_per_block: int = 5
    strided_blocks: tuple[int, ...] = (3, 7, 14)


class TransformerConfig(Section):
    """`dualtk.encoders.transformer.TransformerEncoder`; what is null is the encoder's own choice."""

    name: Literal["transformer"]
    dim: int = 256
    num_layers: int = 10
    num_heads: int = 4
    feedforward_dim: int = 2048
    dropout: float = 0.1
    subsampling: Literal["stacking", "convolution"] = "stacking"
    subsampling_factor: int = 3
    subsampling_channels: int | None = None
    positions: Literal["relative", "rotary", "none"] = "rotary"
    output_projection: bool = True
    checkpoint: bool = False

    def arguments(self) -> dict[str, Any]:
        """The fields that are given, as keyword arguments."""
        return {key: value for key, value in super().arguments().items() if value is not None}


class LSTMConfig(Section):
    """`dualtk.encoders.lstm.LSTMEncoder`."""

    name: Literal["lstm"]
    dim: int = 640
    num_layers: int = 4
    dropout: float = 0.1
    stacking: int = 3
    time_reduction: int = 2
    time_reduction_layer: int = 2
    projection_dim: int | None = None


class LSTMPredictorConfig(Section):
    """`dualtk.transducer.predictor.LSTMPredictor`."""

    name: Literal["lstm"]
    embedding_dim: int = 640
    dim: int = 640
    num_layers: int = 1
    projection_dim: int | None = None
    dropout: float = 0.0


class StatelessPredictorConfig(Section):
    """`dualtk.transducer.predictor.StatelessPredictor`."""

    name: Literal["stateless"]
    dim: int = 512
    context_size: int = 2
    dropout: float = 0.0


class TanhJoinerConfig(Section):
    """`dualtk.transducer.joiner.TanhJoiner`."""

    name: Literal["tanh"]
    joiner_dim: int = 640


class AdditiveJoinerConfig(Section):
    """`dualtk.transducer.joiner.AdditiveJoiner`."""

    name: Literal["additive"]
    activation: Literal["tanh", "identity"] = "identity"


EncoderConfig = Annotated[
    ConformerConfig | ContextNetConfig | TransformerConfig | LSTMConfig, Field(discriminator="name")
]
PredictorConfig = Annotated[LSTMPredictorConfig | StatelessPredictorConfig, Field(discriminator="name")]
JoinerConfig = Annotated[TanhJoinerConfig | AdditiveJoinerConfig, Field(discriminator="name")]


class ModelConfig(Section):
    """A transducer."""

    encoder: EncoderConfig
    predictor: PredictorConfig
    joiner: JoinerConfig


class ModeConfig(Section):
    """What one mode may see; see `dualtk.modes.Mode` for the units."""

    full_context: bool = False
    left_context: int | None = None
    chunk: int = 1
    look_ahead: int = 0

    def mode(self, name: str) -> Mode:
        """The mode called `name`."""
        return Mode(name, **self.arguments())


class PassConfig(Section):
    """One run of the network in each step."""

    mode: str
    weight: float = 1.0


TEACHER = "teacher"  # the pass of the second network


class SharedDecoderTeacherConfig(Section):
    """An encoder that learns in the same steps, with the student's predictor and joiner (CoDERT, section 3.3)."""

    name: Literal["shared_decoder"]
    encoder: EncoderConfig
    mode: ModeConfig
    weight: float = 1.0


class SeparateTeacherConfig(Section):
    """A whole network that learns in the same steps; of the student's shape where `model` is null."""

    name: Literal["separate"]
    model: ModelConfig | None = None
    mode: ModeConfig
    weight: float = 1.0


class FrozenTeacherConfig(Section):
    """The trained network of the experiment folder `exp`, in one of its modes."""

    name: Literal["frozen"]
    exp: Path
    mode: str


TeacherConfig = Annotated[
    SharedDecoderTeacherConfig | SeparateTeacherConfig | FrozenTeacherConfig, Field(discriminator="name")
]


class TermSection(Section):
    """Between which passes a term is, and how its weight grows; see `dualtk.distill.terms.WeightedTerm`."""

    student: str
    teacher: str
    weight: float = 1.0
    start_step: int = 0
    warmup_steps: int = 0
    reduction: Literal["mean", "sum"] = "mean"

    def arguments(self) -> dict[str, Any]:
        """The fields of the term itself."""
        schedule = {"student", "teacher", "weight", "start_step", "warmup_steps"}
        return {key: value for key, value in super().arguments().items() if key not in schedule}


class ThreeWayConfig(TermSection):
    """`dualtk.distill.three_way.ThreeWay`: in-place distillation (Dual-mode ASR, section 3.2)."""

    name: Literal["three_way"]
    shift: int = Field(default=0, ge=-16, le=16)
    symmetric: bool = False


class EncoderLogitsConfig(TermSection):
    """`dualtk.distill.encoder_logits.EncoderLogits` (CoDERT, section 3.3)."""

    name: Literal["encoder_logits"]
    distance: Literal["l2", "cross_entropy", "cosine"] = "l2"
    top_k: int | None = Field(default=None, ge=1)
    reach_teacher: bool = False


class HiddenConfig(TermSection):
    """`dualtk.distill.hidden.HiddenVectors` (Kojima 2021, equation 6)."""

    name: Literal["hidden"]


class HeadsConfig(TermSection):
    """`dualtk.distill.heads.Heads` (Kojima 2021, equation 7)."""

    name: Literal["heads"]


class FullKLConfig(TermSection):
    """`dualtk.distill.full_kl.FullKL`."""

    name: Literal["full_kl"]
    temperature: float = Field(default=1.0, gt=0)
    top_k: int | None = Field(default=None, ge=1)


TermConfig = Annotated[
    ThreeWayConfig | EncoderLogitsConfig | HiddenConfig | HeadsConfig | FullKLConfig, Field(discriminator="name")
]


class ExactLossConfig(Section):
    """`dualtk.transducer.criterion.ExactLoss`."""

    name: Literal["exact"]
    fastemit_lambda: float = 0.0
    delay_penalty: float = 0.0


class PrunedLossConfig(Section):
    """`dualtk.transducer.criterion.PrunedLoss`."""

    name: Literal["pruned"]
    prune_range: int = Field(default=5, ge=2)
    simple_scale: float = 0.5
    lm_scale: float = 0.25
    am_scale: float = 0.0
    warmup_steps: int = 2000
    fastemit_lambda: float = 0.0
    delay_penalty: float = 0.0


LossConfig = Annotated[ExactLossConfig | PrunedLossConfig, Field(discriminator="name")]


class FeaturesConfig(Section):
    """Log-mel features, extracted in stage 1."""

    num_mels: int = 80


class AugmentConfig(Section):
    """`dualtk.data.augment.SpecAugment`."""

    num_frequency_masks: int = 2
    frequency_width: int = 27
    num_time_masks: int = 10
    time_width: int | None = None
    time_fraction: float = 0.05
    time_rate: float | None = None


class BatchesConfig(Section):
    """How utterances become batches."""

    max_frames: int = 40000
    num_buckets: int = 30
    shortest_epochs: int = 0
    num_workers: int = 2
    cache: bool = False


class OptimizerConfig(Section):
    """Adam or AdamW."""

    name: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-9
    weight_decay: float = 1e-3


class TransformerScheduleConfig(Section):
    """Linear warm-up to `peak`, then the inverse square root of the step (Vaswani et al. 2017)."""

    name: Literal["transformer"]
    peak: float = 2e-3
    warmup_steps: int = 10000


class HoldScheduleConfig(Section):
    """Linear warm-up from `initial` to `peak`, hold, exponential decay to `final` at `final_step` (CoDERT 4.2)."""

    name: Literal["hold"]
    initial: float = 1e-7
    peak: float = 5e-4
    final: float = 1e-5
    warmup_steps: int = 3000
    hold_steps: int = 35000
    final_step: int = 75000


class CosineScheduleConfig(Section):
    """Linear warm-up to `peak`, then half a cosine down to `final` at the last step of training."""

    name: Literal["cosine"]
    peak: float = 2e-3
    final: float = 1e-5
    warmup_steps: int = 200


ScheduleConfig = Annotated[
    TransformerScheduleConfig | HoldScheduleConfig | CosineScheduleConfig, Field(discriminator="name")
]


class TrainConfig(Section):
    """The loop."""

    max_steps: int = 100000
    accumulate: int = Field(default=1, ge=1)
    clip_norm: float = 5.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    validate_every: int = 2000
    save_every: int = 500
    average_best: int = Field(default=5, ge=1)
    max_bad_steps: int = 20
    log_every: int = 50
    seed: int = 1


class Config(Section):
    """Everything that a YAML of `egs/*/*/conf` says."""

    model: ModelConfig
    modes: dict[str, ModeConfig]
    passes: list[PassConfig]
    teacher: TeacherConfig | None = None
    sampling: dict[str, float] | None = None
    sampling_steps: int | None = None
    terms: list[TermConfig] = []
    loss: LossConfig
    features: FeaturesConfig = FeaturesConfig()
    augment: AugmentConfig | None = None
    batches: BatchesConfig = BatchesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _names_exist(self) -> Config:
        """Passes run in known modes; terms and sampling name passes."""
        if self.teacher is not None and TEACHER in self.modes:
            raise ValueError(f"modes.{TEACHER}: that name is taken by the pass of the second network")
        runs = {one.mode for one in self.passes}
        if len(runs) != len(self.passes):
            raise ValueError("passes: two passes run in the same mode")
        for index, one in enumerate(self.passes):
            if one.mode not in self.modes:
                raise ValueError(f"passes.{index}.mode: {one.mode} is not one of the modes {sorted(self.modes)}")
        for index, term in enumerate(self.terms):
            self._check_term(f"terms.{index}", term, runs)
        if self.sampling is not None and (set(self.sampling) != runs or abs(sum(self.sampling.values()) - 1) > 1e-6):
            raise ValueError("sampling: needs one probability for each pass, with sum 1")
        if self.sampling is not None and self.sampling_steps is None and (self.terms or self.teacher):
            section = "terms" if self.terms else "teacher"
            raise ValueError(
                f"{section}: with sampling one pass runs in a step, so there is nothing to compare it with"
            )
        return self

    def _check_term(self, path: str, term: TermConfig, runs: set[str]) -> None:
        """A term compares passes that there are, in ways that they can be compared."""
        if term.student not in runs:
            raise ValueError(f"{path}.student: no pass runs in mode {term.student}")
        if term.teacher == TEACHER and self.teacher is None:
            raise ValueError(f"{path}.teacher: there is no section `{TEACHER}`")
        if term.teacher not in runs | {TEACHER}:
            raise ValueError(f"{path}.teacher: no pass runs in mode {term.teacher}")
        if isinstance(term, EncoderLogitsConfig) and self.model.joiner.name != "additive":
            raise ValueError(f"{path}: encoder_logits needs the additive joiner, not {self.model.joiner.name}")
        if term.teacher == TEACHER and isinstance(self.teacher, FrozenTeacherConfig):
            for key in ("symmetric", "reach_teacher"):
                if getattr(term, key, False):
                    raise ValueError(f"{path}.{key}: a frozen teacher does not learn")

    def mode_list(self) -> list[Mode]:
        """The modes, in the order of the YAML."""
        return [section.mode(name) for name, section in self.modes.items()]


def _explain(error: ValidationError, source: str) -> str:
    """The first fault as one line: file, key's path, what is wrong."""
    fault = error.errors()[0]
    tags = {"conformer", "contextnet", "transformer", "lstm", "stateless", "tanh", "additive", "exact", "pruned"}
    tags |= {"shared_decoder", "separate", "frozen", "three_way", "encoder_logits", "hidden", "heads", "full_kl"}
    tags |= {"hold", "cosine"}
    path = ".".join(str(part) for part in fault["loc"] if part not in tags)
    if fault["type"] == "extra_forbidden":
        return f"{source}: {path}: unknown key"
    if fault["type"] == "missing":
        return f"{source}: {path}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{source}: {path}: {message}" if path else f"{source}: {message}"


def _mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping that YAML `text` is; tags of Python objects are refused, never run."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InputError(f"{where}: not plain YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{source}: not a mapping of sections")
    return tree


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping of a file, laid over that of the file its key `base` names, from its own folder."""
    if path.resolve() in above:
        raise InputError(f"{path}: base: the files name each other")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    tree = _mapping(text, str(path))
    base = tree.pop("base", None)
    return tree if base is None else _merge(_read(path.parent / str(base), (*above, path.resolve())), tree)


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `base`: mappings join unless they name different blocks, null drops a key, all else replaces."""
    if own.get("name", base.get("name")) != base.get("name"):
        return own
    merged = dict(base)
    for key, value in own.items():
        below = merged.pop(key, None)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merge(below, value)
        elif value is not None:
            merged[key] = value
    return merged


def _validate(tree: dict[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, source)) from error


def parse(text: str, source: str) -> Config:
    """Configuration from YAML `text`; `source` names it in errors.

    Raises:
        InputError: no YAML, or a key at fault, named by its path.
    """
    return _validate(_mapping(text, source), source)


def load(path: Path) -> Config:
    """Configuration from the file `path` and the files it is based on; see `parse`."""
    return _validate(_read(path), str(path))


def dump(config: Config) -> str:
    """The resolved configuration as YAML; `parse` gives the same configuration back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def with_overrides(config: Config, overrides: list[str], source: str = "--set") -> Config:
    """`config` with `key.path=value` changes (values are YAML), checked like a file."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise InputError(f"{source}: {override}: expected key.path=value")
        *parents, last = key.split(".")
        node: Any = tree
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node.get(parent)
            if node is None:
                raise InputError(f"{source}: {key}: unknown key")
        if isinstance(node, list):
            node[int(last)] = yaml.safe_load(value)
        else:
            node[last] = yaml.safe_load(value)
    return parse(yaml.safe_dump(tree), source)
