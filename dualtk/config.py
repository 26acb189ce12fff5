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
    subsampling_channels: int = 64
    subsampling_factor: Literal[4, 8] = 4
    convolution_norm: Literal["batch", "layer"] = "batch"
    positions: Literal["relative", "rotary", "none"] = "relative"
    checkpoint: bool = False


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


EncoderConfig = Annotated[ConformerConfig, Field(discriminator="name")]
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


class ThreeWayConfig(Section):
    """`dualtk.distill.three_way.ThreeWay`: in-place distillation (Dual-mode ASR, section 3.2)."""

    name: Literal["three_way"]
    student: str
    teacher: str
    weight: float = 1.0
    shift: int = Field(default=0, ge=-16, le=16)
    start_step: int = 0
    warmup_steps: int = 0


TermConfig = Annotated[ThreeWayConfig, Field(discriminator="name")]


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
    sampling: dict[str, float] | None = None
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
        runs = {one.mode for one in self.passes}
        if len(runs) != len(self.passes):
            raise ValueError("passes: two passes run in the same mode")
        for index, one in enumerate(self.passes):
            if one.mode not in self.modes:
                raise ValueError(f"passes.{index}.mode: {one.mode} is not one of the modes {sorted(self.modes)}")
        for index, term in enumerate(self.terms):
            for role in ("student", "teacher"):
                if getattr(term, role) not in runs:
                    raise ValueError(f"terms.{index}.{role}: no pass runs in mode {getattr(term, role)}")
        if self.sampling is not None and (set(self.sampling) != runs or abs(sum(self.sampling.values()) - 1) > 1e-6):
            raise ValueError("sampling: needs one probability for each pass, with sum 1")
        if self.sampling is not None and self.terms:
            raise ValueError("terms: with sampling one pass runs in a step, so there is nothing to compare it with")
        return self

    def mode_list(self) -> list[Mode]:
        """The modes, in the order of the YAML."""
        return [section.mode(name) for name, section in self.modes.items()]


def _explain(error: ValidationError, source: str) -> str:
    """The first fault as one line: file, key's path, what is wrong."""
    fault = error.errors()[0]
    tags = {"conformer", "lstm", "stateless", "tanh", "additive", "exact", "pruned", "transformer", "hold", "cosine"}
    path = ".".join(str(part) for part in fault["loc"] if part not in tags)
    if fault["type"] == "extra_forbidden":
        return f"{source}: {path}: unknown key"
    if fault["type"] == "missing":
        return f"{source}: {path}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{source}: {path}: {message}" if path else f"{source}: {message}"


def parse(text: str, source: str) -> Config:
    """Configuration from YAML `text`; `source` names it in errors.

    Raises:
        InputError: no YAML (tags of Python objects are refused, never run), or a key at fault, named by its path.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InputError(f"{where}: not plain YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{source}: not a mapping of sections")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, source)) from error


def load(path: Path) -> Config:
    """Configuration from the file `path`; see `parse`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


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
