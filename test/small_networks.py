"""Transducers of a few hundred weights with random but lively output, for tests of search and streaming."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from dualtk.data.fbank import FbankOptions, fbank
from dualtk.encoders.base import Encoder
from dualtk.encoders.conformer import ConformerOptions
from dualtk.encoders.contextnet import ContextNetOptions
from dualtk.encoders.lstm import LSTMOptions
from dualtk.encoders.stacked import StackedEncoder
from dualtk.encoders.transformer import TransformerOptions
from dualtk.modes import FULL_CONTEXT, streaming
from dualtk.transducer.joiner import TanhJoiner
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import (
    LSTMPredictor,
    LSTMPredictorOptions,
    StatelessPredictor,
    StatelessPredictorOptions,
)

MODE_NAMES = ("full", "streaming")
INPUT_DIM = 8
VOCABULARY = 7
RATE = 16000
MELS = FbankOptions(num_mels=INPUT_DIM)


def speech(num_samples: int, seed: int = 0) -> Tensor:
    """Noise whose colour and loudness change."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_samples + 9, generator=generator)
    loud = 0.05 + 0.5 * torch.rand(num_samples // 800 + 1, generator=generator).repeat_interleave(800)[:num_samples]
    smooth = noise.unfold(0, 9, 1).mean(1)[:num_samples]
    return (loud * torch.where(loud > 0.3, smooth, noise[:num_samples])).clamp(-1, 1)


def conformer(input_dim: int = INPUT_DIM, **changes: object) -> StackedEncoder:
    options: dict[str, object] = {
        "dim": 12,
        "num_layers": 2,
        "num_heads": 2,
        "feedforward_dim": 16,
        "kernel": 5,
        "dropout": 0.0,
        "subsampling_channels": 3,
    }
    return ConformerOptions.model_validate({"name": "conformer", **options, **changes}).build(input_dim, MODE_NAMES)


def transformer(input_dim: int = INPUT_DIM) -> Encoder:
    options = TransformerOptions(name="transformer", dim=12, num_layers=2, num_heads=2, feedforward_dim=16, dropout=0.0)
    return options.build(input_dim, MODE_NAMES)


def lstm(input_dim: int = INPUT_DIM) -> Encoder:
    return LSTMOptions(name="lstm", dim=10, num_layers=3, dropout=0.0).build(input_dim, MODE_NAMES)


def contextnet(input_dim: int = INPUT_DIM) -> Encoder:
    options = ContextNetOptions(name="contextnet", dropout=0.0, alpha=1 / 32, layers_per_block=1)
    return options.build(input_dim, MODE_NAMES)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "conformer": conformer,
    "transformer": transformer,
    "lstm": lstm,
    "contextnet": contextnet,
}


def search_parts(
    predictor: str = "lstm", *, seed: int = 0, scale: float = 3.0, blank_bias: float = 1.0, vocabulary: int = VOCABULARY
) -> tuple[LSTMPredictor | StatelessPredictor, TanhJoiner]:
    """A predictor and a joiner over frames of width 6 whose best label changes often."""
    torch.manual_seed(seed)
    one: LSTMPredictor | StatelessPredictor
    if predictor == "lstm":
        lstm_options = LSTMPredictorOptions(name="lstm", embedding_dim=5, dim=9, num_layers=2, projection_dim=4)
        one = lstm_options.build(vocabulary)
    else:
        one = StatelessPredictorOptions(name="stateless", dim=4, context_size=2).build(vocabulary)
    joiner = TanhJoiner(6, 4, 8, vocabulary)
    with torch.no_grad():
        for parameter in [*one.parameters(), *joiner.parameters()]:
            parameter.copy_(0.5 * torch.randn_like(parameter))
        joiner.output.weight.mul_(scale)
        joiner.output.bias[0] += blank_bias
    return one.eval(), joiner.eval()


def random_frames(batch: int = 4, frames: int = 37, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Encoder frames (B, T, 6) and lengths; one of them is zero."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    lengths[0], lengths[-1] = frames, 0
    return 2 * torch.randn(batch, frames, 6, generator=generator), lengths


def small_transducer(encoder: str = "conformer", seed: int = 0, **changes: object) -> Transducer:
    """A whole network whose statistics, biases and feature normalisation are not trivial; `changes` of its encoder."""
    torch.manual_seed(seed)
    built = ENCODERS[encoder](INPUT_DIM, **changes)
    predictor = LSTMPredictorOptions(name="lstm", embedding_dim=5, dim=9).build(VOCABULARY)
    joiner = TanhJoiner(built.output_dim, 9, 8, VOCABULARY)
    feats = fbank(speech(3 * RATE, 1), RATE, MELS)
    network = Transducer(built, predictor, joiner, feats.mean(0) + 0.1, 1.1 / feats.std(0))
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    batch, lengths = network.normalize(feats.view(3, 100, -1), torch.tensor([100, 90, 50])), torch.tensor([100, 90, 50])
    for mode in (FULL_CONTEXT, streaming()):  # moves the statistics of batch norms
        cast(nn.Module, built).train()
        built(batch, lengths, mode)
    network.eval()
    with torch.no_grad():  # the joiner hears what changes in the frames, loudly
        frames = joiner.encoder(built(batch[:1], lengths[:1], streaming()).frames[0])
        mean, scale = frames.mean(0), 1.5 / frames.std(0).clamp(min=1e-3)
        joiner.encoder.weight.mul_(scale.unsqueeze(1))
        joiner.encoder.bias.copy_((joiner.encoder.bias - mean) * scale)
        joiner.predictor.weight.mul_(4.0)
        joiner.output.weight.copy_(2 * torch.randn(VOCABULARY, 8))
        joiner.output.bias[0] += 1.0
    return network
