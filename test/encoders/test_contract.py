"""The three properties that every encoder has in every mode (audiocraft's tests of causality were the model)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from blocks import make_encoder
from torch import Tensor, nn
from torch.nn import functional as F

from dualtk.encoders.base import Encoder
from dualtk.encoders.latent_masks import LatentMasks
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming

INPUT_DIM = 12
STACK = {"dim": 16, "num_layers": 2, "num_heads": 2, "feedforward_dim": 24, "dropout": 0.1}


def conformer(**changes: object) -> nn.Module:
    options = {**STACK, "kernel": 7, "subsampling_channels": 4}
    return make_encoder("conformer", INPUT_DIM, **{**options, **changes})


def transformer(**changes: object) -> nn.Module:
    return make_encoder("transformer", INPUT_DIM, **{**STACK, **changes})


def lstm(**changes: object) -> nn.Module:
    return make_encoder("lstm", INPUT_DIM, **{"dim": 10, "num_layers": 3, "dropout": 0.1, **changes})


def contextnet(**changes: object) -> nn.Module:
    return make_encoder("contextnet", INPUT_DIM, **{"dropout": 0.1, "alpha": 1 / 32, "layers_per_block": 1, **changes})


def wav2vec(**changes: object) -> nn.Module:
    options = {**STACK, "channels": 6, "kernels": (5, 3, 2), "strides": (3, 2, 2)}
    return make_encoder("wav2vec", INPUT_DIM, **{**options, **changes})


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "conformer": conformer,
    "conformer-rotary": lambda: conformer(positions="rotary"),
    "conformer-without-positions": lambda: conformer(positions="none", convolution_norm="layer"),
    "conformer-checkpointed": lambda: conformer(gradient_checkpointing=True),
    "conformer-stacking": lambda: conformer(subsampling="stacking", subsampling_factor=6),
    "conformer-by-eight": lambda: conformer(subsampling_factor=8, subsampling_channels=8),
    "transformer": transformer,
    "transformer-relative": lambda: transformer(
        positions="relative", output_projection=False, gradient_checkpointing=True
    ),
    "transformer-convolution": lambda: transformer(
        subsampling="convolution", subsampling_factor=4, subsampling_channels=4
    ),
    "lstm": lstm,
    "lstm-checkpointed": lambda: lstm(gradient_checkpointing=True),
    "contextnet-checkpointed": lambda: contextnet(gradient_checkpointing=True),
    "lstm-one-rate": lambda: lstm(time_reduction=1, projection_dim=7),
    "contextnet": contextnet,
    "wav2vec": wav2vec,
    "wav2vec-relative": lambda: wav2vec(
        positions="relative", kernels=(5, 4, 4), strides=(3, 4, 2), gradient_checkpointing=True
    ),
    "wav2vec-convolution": lambda: wav2vec(positions="convolution", position_kernel=6, position_groups=4),
    "wav2vec-post-norm": lambda: wav2vec(
        pre_norm=False, positions="convolution", position_groups=2, gradient_checkpointing=True
    ),
    "wav2vec-stacking": lambda: wav2vec(kernels=(5, 3), strides=(3, 2), stacking=6),
    "wav2vec-masks": lambda: wav2vec(latent_masks={"time_probability": 0.5, "channel_width": 4}),
    "contextnet-two-layers": lambda: contextnet(layers_per_block=2, strided_blocks=(3, 7), kernel=3),
}
# A name with a hyphen is a variant.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if "-" in name else name for name in ENCODERS]
STREAMING = [
    streaming(),
    streaming(left_context=0),
    streaming(left_context=3),
    streaming(chunk=3),
    streaming(left_context=0, chunk=2),
    streaming(left_context=4, chunk=4),
    streaming(left_context=1, chunk=20),
]
MODES = [FULL_CONTEXT, *STREAMING]


def name_of(mode: Mode) -> str:
    return mode.name if mode.full_context else f"left{mode.left_context}-chunk{mode.chunk}"


def build(name: str) -> Encoder:
    """An encoder whose every parameter and statistic matters: none is left at zero or one."""
    torch.manual_seed(1)
    network = ENCODERS[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3) if parameter.dim() == 1 else None
    encoder = cast(Encoder, network)
    for mode in (FULL_CONTEXT, streaming()):
        encoder(torch.randn(4, 64, INPUT_DIM), torch.tensor([64, 60, 33, 9]), mode)  # moves batch norm statistics
    network.eval()
    return encoder


def run_in_chunks(encoder: Encoder, feats: Tensor, mode: Mode) -> Tensor:
    """(B, T, F) -> (B, ceil(T / subsampling), D) by `step`, the last chunk padded with zero features."""
    size = mode.chunk * encoder.subsampling
    state = encoder.init_state(len(feats), mode)
    frames = []
    for chunk in F.pad(feats, (0, 0, 0, -feats.shape[1] % size)).split(size, dim=1):
        output, state = encoder.step(chunk, state, mode)
        assert output.shape == (len(feats), mode.chunk, encoder.output_dim)
        frames.append(output)
    return torch.cat(frames, dim=1)[:, : -(-feats.shape[1] // encoder.subsampling)]


@pytest.mark.parametrize("mode", STREAMING, ids=name_of)
@pytest.mark.parametrize("name", NAMES)
def test_chunk_by_chunk_equals_the_whole_utterance(name: str, mode: Mode) -> None:
    encoder = build(name)
    feats = torch.randn(2, 93, INPUT_DIM)
    with torch.no_grad():
        whole = encoder(feats, torch.tensor([93, 93]), mode).frames
        torch.testing.assert_close(run_in_chunks(encoder, feats, mode), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("name", NAMES)
def test_no_output_depends_on_what_comes_after_its_right_edge(name: str, mode: Mode) -> None:
    encoder = build(name)
    feats = torch.randn(1, 75, INPUT_DIM, requires_grad=True)
    frames = encoder(feats, torch.tensor([75]), mode).frames
    for index in (0, 1, frames.shape[1] // 2, frames.shape[1] - 1):
        (gradient,) = torch.autograd.grad(frames[0, index].square().sum(), feats, retain_graph=True)
        strength = gradient[0].abs().sum(1)
        right_edge = (index // mode.chunk + 1) * mode.chunk * encoder.subsampling
        sees_all = mode.full_context and not getattr(encoder, "streaming_only", False)
        if sees_all:
            assert (strength > 0).all()
        else:
            assert (strength[right_edge:] == 0).all()
            assert (strength[index * encoder.subsampling :][: encoder.subsampling] > 0).any()


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("name", NAMES)
def test_padding_a_batch_changes_no_valid_frame(name: str, mode: Mode) -> None:
    encoder = build(name)
    lengths = torch.tensor([90, 41, 7, 1])
    feats = torch.randn(4, 90, INPUT_DIM)
    for row, length in enumerate(lengths):
        feats[row, length:] = float("nan")  # what lies there must not be read, not even multiplied by zero
    with torch.no_grad():
        batch = encoder(feats, lengths, mode)
        for row, length in enumerate(lengths):
            alone = encoder(feats[row : row + 1, :length], lengths[row : row + 1], mode)
            size = -(-int(length) // encoder.subsampling)
            assert alone.frames.shape[1] == size == int(batch.lengths[row]) == int(alone.lengths[0])
            torch.testing.assert_close(batch.frames[row, :size], alone.frames[0], atol=1e-5, rtol=0)
            for of_batch, of_one in zip(batch.hidden, alone.hidden, strict=True):
                torch.testing.assert_close(of_batch[row, : len(of_one[0])], of_one[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_padding_moves_no_gradient_in_training(name: str) -> None:
    """Batch norm statistics and gradients come from the frames that exist."""
    encoder = build(name)
    network = cast(nn.Module, encoder).train()
    for module in network.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0
        if isinstance(module, LatentMasks):
            module.eval()  # what it draws differs with the longest utterance
    short, lengths = torch.randn(2, 40, INPUT_DIM), torch.tensor([40, 24])
    gradients = []
    for feats in (short, F.pad(short, (0, 0, 0, 48), value=7.0)):
        network.zero_grad()
        encoder(feats, lengths, FULL_CONTEXT).frames[:, : 24 // encoder.subsampling].square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_streams_of_different_age_share_a_batch(name: str) -> None:
    """A stream that starts late in a batch gets what it would get alone."""
    encoder = build(name)
    mode = streaming(left_context=5, chunk=2)
    size = mode.chunk * encoder.subsampling
    old, new = torch.randn(1, 6 * size, INPUT_DIM), torch.randn(1, 3 * size, INPUT_DIM)
    with torch.no_grad():
        state = encoder.init_state(1, mode)
        for chunk in old[:, : 3 * size].split(size, dim=1):
            _, state = encoder.step(chunk, state, mode)
        fresh = encoder.init_state(1, mode)
        state = {key: torch.cat([value, fresh[key]]) for key, value in state.items()}
        frames = []
        for chunk in torch.cat([old[:, 3 * size :], new]).split(size, dim=1):
            output, state = encoder.step(chunk, state, mode)
            frames.append(output)
        both = torch.cat(frames, dim=1)
        torch.testing.assert_close(both[:1], run_in_chunks(encoder, old, mode)[:, 6:], atol=1e-5, rtol=0)
        torch.testing.assert_close(both[1:], run_in_chunks(encoder, new, mode), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_float32_zeros_of_constant_shape(name: str) -> None:
    encoder = build(name)
    mode = streaming(left_context=3, chunk=2)
    spec = encoder.state_spec(mode)
    state = encoder.init_state(2, mode)
    assert all((value == 0).all() for value in state.values())
    with torch.no_grad():
        for _ in range(4):
            _, state = encoder.step(torch.randn(2, mode.chunk * encoder.subsampling, INPUT_DIM), state, mode)
            assert {key: tuple(value.shape) for key, value in state.items()} == {k: (2, *v) for k, v in spec.items()}
            assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize("name", NAMES)
def test_modes_share_all_weights_but_the_norms(name: str) -> None:
    """Each mode has its own norms; a gradient of one mode reaches none of the other's, and all the shared weights."""
    encoder = build(name)
    network = cast(nn.Module, encoder)
    network.train()
    encoder(torch.randn(2, 64, INPUT_DIM), torch.tensor([64, 50]), streaming()).frames.square().sum().backward()
    for key, parameter in network.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        if ".full." in key:
            assert not reached, key
            assert key.replace(".full.", ".streaming.") in dict(network.named_parameters())
        elif ".bias" not in key:  # the bias of a key, or before a norm, has no gradient
            assert reached, key


@pytest.mark.parametrize("name", NAMES)
def test_a_mode_without_norms_is_refused(name: str) -> None:
    encoder = build(name)
    feats, lengths = torch.randn(1, 32, INPUT_DIM), torch.tensor([32])
    if any(".streaming." in key for key, _ in cast(nn.Module, encoder).named_parameters()):
        with pytest.raises(InputError, match="mode sparse: the network has norms for full, streaming only"):
            encoder(feats, lengths, streaming(name="sparse"))
    with pytest.raises(InputError, match="whole utterance"):
        encoder.init_state(1, FULL_CONTEXT)
    with pytest.raises(InputError, match="whole utterance"):
        encoder.step(feats, {}, FULL_CONTEXT)
