"""From the configuration of pre-training to objects; see `dualtk.build`."""

from __future__ import annotations

from torch import Tensor

from dualtk.build import build_plan, build_pruner
from dualtk.config import PretrainConfig
from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.nn.spans import SpanMask
from dualtk.pruning.masks import add_masks
from dualtk.ssl.network import PretrainingNetwork
from dualtk.ssl.objective import ContrastiveTask, Pretraining
from dualtk.ssl.quantizer import Quantizer, Temperature


def build_pretraining_network(config: PretrainConfig, feature_mean: Tensor, feature_istd: Tensor) -> PretrainingNetwork:
    """The network that is pre-trained, with the masks of its sparse modes."""
    section = config.pretraining
    arguments = config.model.encoder.arguments()
    encoder = Wav2VecEncoder(input_dim=feature_mean.numel(), mode_names=list(config.modes), **arguments)
    network = PretrainingNetwork(
        encoder,
        Quantizer(encoder.extracted_dim, section.target_dim, **section.quantizer.arguments()),
        section.target_dim,
        feature_mean,
        feature_istd,
        extractor_gradient=section.extractor_gradient,
    )
    if config.pruning is not None:
        add_masks(network, config.mode_list(), straight_through=not config.pruning.update_only_kept)
    return network


def build_pretraining(config: PretrainConfig, network: PretrainingNetwork) -> Pretraining:
    """The passes of `config` over `network`."""
    section = config.pretraining
    return Pretraining(
        network,
        build_plan(config),
        ContrastiveTask(**section.contrast.arguments()),
        SpanMask(**section.masking.arguments()),
        Temperature(**section.temperature.arguments()),
        pruner=build_pruner(config, network),
    )
