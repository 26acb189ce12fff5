"""From configuration to objects: each section's fields become the keyword arguments of one block."""

from __future__ import annotations

from torch import Tensor

from dualtk.config import (
    Config,
    ExactLossConfig,
    LossConfig,
    LSTMPredictorConfig,
    ModelConfig,
    PredictorConfig,
    TanhJoinerConfig,
    TermConfig,
)
from dualtk.data.augment import SpecAugment
from dualtk.distill.terms import WeightedTerm
from dualtk.distill.three_way import ThreeWay
from dualtk.encoders.base import Encoder
from dualtk.encoders.conformer import ConformerEncoder
from dualtk.objective import Objective, PlannedPass
from dualtk.transducer.criterion import Criterion, ExactLoss, PrunedLoss
from dualtk.transducer.joiner import AdditiveJoiner, Joiner, TanhJoiner
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import LSTMPredictor, Predictor, StatelessPredictor

ENCODERS = {"conformer": ConformerEncoder}


def build_encoder(model: ModelConfig, num_mels: int, mode_names: list[str]) -> Encoder:
    """The encoder of `model`, with one set of norms for each mode."""
    section = model.encoder
    return ENCODERS[section.name](input_dim=num_mels, mode_names=mode_names, **section.arguments())


def build_predictor(section: PredictorConfig, vocab_size: int) -> Predictor:
    """The predictor."""
    if isinstance(section, LSTMPredictorConfig):
        return LSTMPredictor(vocab_size, **section.arguments())
    return StatelessPredictor(vocab_size, **section.arguments())


def build_joiner(model: ModelConfig, encoder_dim: int, predictor_dim: int, vocab_size: int) -> Joiner:
    """The joiner."""
    section = model.joiner
    if isinstance(section, TanhJoinerConfig):
        return TanhJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **section.arguments())
    return AdditiveJoiner(encoder_dim, predictor_dim, vocab_size=vocab_size, **section.arguments())


def build_network(config: Config, vocab_size: int, feature_mean: Tensor, feature_istd: Tensor) -> Transducer:
    """The transducer of `config`, for wordpieces 0 (blank) to `vocab_size` - 1."""
    encoder = build_encoder(config.model, config.features.num_mels, list(config.modes))
    predictor = build_predictor(config.model.predictor, vocab_size)
    joiner = build_joiner(config.model, encoder.output_dim, predictor.output_dim, vocab_size)
    return Transducer(encoder, predictor, joiner, feature_mean, feature_istd)


def build_criterion(section: LossConfig, network: Transducer) -> Criterion:
    """The loss of a pass."""
    if isinstance(section, ExactLossConfig):
        return ExactLoss(**section.arguments())
    return PrunedLoss(
        network.encoder.output_dim, network.predictor.output_dim, network.joiner.vocab_size, **section.arguments()
    )


def build_term(section: TermConfig) -> WeightedTerm:
    """A distillation term with its weight."""
    term = ThreeWay(section.shift)
    return WeightedTerm(
        term, section.student, section.teacher, section.weight, section.start_step, section.warmup_steps
    )


def build_objective(config: Config, network: Transducer) -> Objective:
    """The passes and terms of `config` over `network`."""
    modes = {mode.name: mode for mode in config.mode_list()}
    return Objective(
        network,
        build_criterion(config.loss, network),
        [PlannedPass(modes[one.mode], one.weight) for one in config.passes],
        [build_term(section) for section in config.terms],
        sampling=config.sampling,
        augment=None if config.augment is None else SpecAugment(**config.augment.arguments()),
        seed=config.train.seed,
    )
