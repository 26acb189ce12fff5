"""Every shipped size against the published number, and what a second mode costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from dualtk.encoders.conformer import ConformerEncoder
from dualtk.encoders.contextnet import ContextNetEncoder
from dualtk.encoders.lstm import LSTMEncoder
from dualtk.encoders.transformer import TransformerEncoder
from dualtk.transducer.joiner import TanhJoiner
from dualtk.transducer.predictor import LSTMPredictor

Names = Sequence[str]


@dataclass(frozen=True)
class Published:
    """A size in the papers: the encoder alone where `predictor_dim` is None, else the whole transducer."""

    millions: float
    encoder: Callable[[Names], nn.Module]
    vocab_size: int = 1024
    predictor_dim: int | None = 640
    predictor_layers: int = 1


def conformer(names: Names) -> nn.Module:
    return ConformerEncoder(
        input_dim=80,
        dim=256,
        num_layers=16,
        num_heads=4,
        feedforward_dim=1024,
        kernel=31,
        dropout=0.1,
        subsampling_channels=64,
        mode_names=names,
    )


def transformer(num_layers: int) -> Callable[[Names], nn.Module]:
    return lambda names: TransformerEncoder(
        input_dim=80,
        dim=256,
        num_layers=num_layers,
        num_heads=4,
        feedforward_dim=2048,
        dropout=0.1,
        subsampling="convolution",
        subsampling_factor=4,
        mode_names=names,
    )


def distilled_transformer(names: Names) -> nn.Module:
    return TransformerEncoder(
        input_dim=40,
        dim=256,
        num_layers=10,
        num_heads=4,
        feedforward_dim=2048,
        dropout=0.1,
        output_projection=False,
        mode_names=names,
    )


def lstm(input_dim: int, dim: int, num_layers: int, projection_dim: int | None) -> Callable[[Names], nn.Module]:
    return lambda names: LSTMEncoder(
        input_dim=input_dim,
        dim=dim,
        num_layers=num_layers,
        dropout=0.1,
        time_reduction=1 if projection_dim is None else 2,
        projection_dim=projection_dim,
        mode_names=names,
    )


def contextnet(names: Names) -> nn.Module:
    return ContextNetEncoder(input_dim=80, dropout=0.1, mode_names=names)


STREAMING, DUAL = ("streaming",), ("full", "streaming")
# Dual-mode ASR, tables 2 and 3; CoDERT, section 4.1 and table 2; Kojima 2021, section 4.1 and table 5.
SIZES = {
    "conformer": (Published(30.7, conformer), DUAL),
    "contextnet": (Published(31.4, contextnet, predictor_layers=2), STREAMING),
    "contextnet-dual": (Published(31.8, contextnet, predictor_layers=2), DUAL),
    "transformer-small": (Published(18.9, transformer(10)), STREAMING),
    "transformer-large": (Published(29.0, transformer(18)), DUAL),
    "codert-teacher": (Published(46.0, lstm(64, 1024, 5, 4001), predictor_dim=None), STREAMING),
    "codert-student": (Published(16.0, lstm(64, 640, 4, 4001), predictor_dim=None), STREAMING),
    "distilled-transformer": (Published(13.3, distilled_transformer, 256, 256), STREAMING),
    "distilled-transformer-rnnt-baseline": (Published(13.1, lstm(40, 650, 4, None), 256, 256), STREAMING),
}


def count(size: Published, names: Names) -> float:
    """Millions of parameters; nothing is allocated."""
    with torch.device("meta"):
        encoder = size.encoder(names)
        modules = [encoder]
        if size.predictor_dim is not None:
            dim = size.predictor_dim
            modules.append(LSTMPredictor(size.vocab_size, embedding_dim=dim, dim=dim, num_layers=size.predictor_layers))
            modules.append(TanhJoiner(encoder.output_dim, dim, dim, size.vocab_size))
    return sum(parameter.numel() for module in modules for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("name", SIZES)
def test_size_is_the_published_one(name: str) -> None:
    size, names = SIZES[name]
    assert count(size, names) == pytest.approx(size.millions, rel=0.03)


@pytest.mark.parametrize("name", SIZES)
def test_a_second_mode_costs_less_than_two_percent(name: str) -> None:
    size, _ = SIZES[name]
    assert 1.0 < count(size, DUAL) / count(size, STREAMING) < 1.02


def test_only_the_dual_kernel_and_the_norms_are_added() -> None:
    """Per convolution and mode a batch norm, and (k - 1)/2 taps that a causal convolution would not have."""
    with torch.device("meta"):
        encoder = contextnet(DUAL)
    overhead = sum(p.numel() for name, p in encoder.named_parameters() if ".full." in name)
    taps = sum(p.numel() for name, p in encoder.named_parameters() if name.endswith("depthwise.weight"))
    total = sum(p.numel() for p in encoder.parameters())
    assert overhead / total < 0.005
    assert taps / total < 0.012
