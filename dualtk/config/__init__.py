"""YAML to typed configuration: unknown, missing or mistyped keys are refused with their path.

The sections mirror the house: `model`, `modes`, `passes`, `teacher`, `terms`, `loss` are what a paper describes; the
rest is how it is trained. A field's name is the keyword argument of the block that it reaches.
"""

from dualtk.config.data import AugmentConfig, BatchesConfig, FbankConfig, FeaturesConfig, SamplesConfig
from dualtk.config.init import FreezeConfig, InitConfig
from dualtk.config.model import (
    AdditiveJoinerConfig,
    ConformerConfig,
    ContextNetConfig,
    EncoderConfig,
    JoinerConfig,
    LatentMasksConfig,
    LSTMConfig,
    LSTMPredictorConfig,
    ModelConfig,
    PredictorConfig,
    StatelessPredictorConfig,
    TanhJoinerConfig,
    TransformerConfig,
    Wav2VecConfig,
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
from dualtk.config.pretraining import (
    PRETRAINING,
    ContrastConfig,
    EncoderAloneConfig,
    MaskingConfig,
    PretrainConfig,
    PretrainingConfig,
    QuantizerConfig,
    TemperatureConfig,
)
from dualtk.config.pruning import PruningConfig, SparsityScheduleConfig
from dualtk.config.reading import dump, load, load_any, parse, with_overrides
from dualtk.config.run import RunConfig
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
    "PRETRAINING",
    "TEACHER",
    "AdditiveJoinerConfig",
    "AugmentConfig",
    "BatchesConfig",
    "Config",
    "ConformerConfig",
    "ContextNetConfig",
    "ContrastConfig",
    "CosineScheduleConfig",
    "EncoderAloneConfig",
    "EncoderConfig",
    "EncoderLogitsConfig",
    "ExactLossConfig",
    "FbankConfig",
    "FeaturesConfig",
    "FreezeConfig",
    "FrozenTeacherConfig",
    "FullKLConfig",
    "HeadsConfig",
    "HiddenConfig",
    "HoldScheduleConfig",
    "InitConfig",
    "JoinerConfig",
    "LSTMConfig",
    "LSTMPredictorConfig",
    "LatentMasksConfig",
    "LossConfig",
    "MaskingConfig",
    "ModeConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PassConfig",
    "PredictorConfig",
    "PretrainConfig",
    "PretrainingConfig",
    "PrunedLossConfig",
    "PruningConfig",
    "QuantizerConfig",
    "RunConfig",
    "SamplesConfig",
    "ScheduleConfig",
    "Section",
    "SeparateTeacherConfig",
    "SharedDecoderTeacherConfig",
    "SparsityScheduleConfig",
    "StatelessPredictorConfig",
    "TanhJoinerConfig",
    "TeacherConfig",
    "TemperatureConfig",
    "TermConfig",
    "TermSection",
    "ThreeWayConfig",
    "TrainConfig",
    "TransformerConfig",
    "TransformerScheduleConfig",
    "Wav2VecConfig",
    "dump",
    "load",
    "load_any",
    "parse",
    "with_overrides",
]
