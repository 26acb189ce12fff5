"""YAML to typed configuration: unknown, missing or mistyped keys are refused with their path.

The sections mirror the house: `model`, `modes`, `passes`, `teacher`, `terms`, `loss` are what a paper describes; the
rest is how it is trained. A field's name is the keyword argument of the block that it reaches.
"""

from dualtk.config.data import AugmentConfig, BatchesConfig, FeaturesConfig
from dualtk.config.model import (
    AdditiveJoinerConfig,
    ConformerConfig,
    ContextNetConfig,
    EncoderConfig,
    JoinerConfig,
    LSTMConfig,
    LSTMPredictorConfig,
    ModelConfig,
    PredictorConfig,
    StatelessPredictorConfig,
    TanhJoinerConfig,
    TransformerConfig,
)
from dualtk.config.modes import ModeConfig, PassConfig
from dualtk.config.objective import (
    EncoderLogitsConfig,
    ExactLossConfig,
    FullKLConfig,
    HeadsConfig,
    HiddenConfig,
    LossConfig,
    PrunedLossConfig,
    TermConfig,
    TermSection,
    ThreeWayConfig,
)
from dualtk.config.pruning import PruningConfig, SparsityScheduleConfig
from dualtk.config.reading import dump, load, parse, with_overrides
from dualtk.config.section import Section
from dualtk.config.system import Config
from dualtk.config.teacher import (
    TEACHER,
    FrozenTeacherConfig,
    SeparateTeacherConfig,
    SharedDecoderTeacherConfig,
    TeacherConfig,
)
from dualtk.config.training import (
    CosineScheduleConfig,
    HoldScheduleConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
    TransformerScheduleConfig,
)

__all__ = [
    "TEACHER",
    "AdditiveJoinerConfig",
    "AugmentConfig",
    "BatchesConfig",
    "Config",
    "ConformerConfig",
    "ContextNetConfig",
    "CosineScheduleConfig",
    "EncoderConfig",
    "EncoderLogitsConfig",
    "ExactLossConfig",
    "FeaturesConfig",
    "FrozenTeacherConfig",
    "FullKLConfig",
    "HeadsConfig",
    "HiddenConfig",
    "HoldScheduleConfig",
    "JoinerConfig",
    "LSTMConfig",
    "LSTMPredictorConfig",
    "LossConfig",
    "ModeConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PassConfig",
    "PredictorConfig",
    "PrunedLossConfig",
    "PruningConfig",
    "ScheduleConfig",
    "Section",
    "SeparateTeacherConfig",
    "SharedDecoderTeacherConfig",
    "SparsityScheduleConfig",
    "StatelessPredictorConfig",
    "TanhJoinerConfig",
    "TeacherConfig",
    "TermConfig",
    "TermSection",
    "ThreeWayConfig",
    "TrainConfig",
    "TransformerConfig",
    "TransformerScheduleConfig",
    "dump",
    "load",
    "parse",
    "with_overrides",
]
