"""The wav2vec 2.0 encoder against torchaudio's, and what it refuses."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F

from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.encoders.wav2vec_weights import from_torchaudio, is_wav2vec
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.pruning.masks import add_masks
from dualtk.pruning.patterns import Blocks
from dualtk.pruning.pruner import Pruner
from dualtk.pruning.schedule import SparsitySchedule
from dualtk.transducer.fast_step import compile_step

MODE_NAMES = ("full", "streaming")
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
CHANNELS, DIM, HEADS, LAYERS, INNER = 12, 16, 4, 2, 24
FEATURE = 160


def theirs(extractor: str) -> torchaudio.models.Wav2Vec2Model:
    """A small network of torchaudio with random weights, none of them zero or one."""
    torch.manual_seed(3)
    network = torchaudio.models.wav2vec2_model(
        extractor_mode=extractor,
        extractor_conv_layer_config=[(CHANNELS, kernel, stride) for kernel, stride in zip(KERNELS, STRIDES)],
        extractor_conv_bias=extractor == "layer_norm",
        encoder_embed_dim=DIM,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=8,
        encoder_pos_conv_groups=2,
        encoder_num_layers=LAYERS,
        encoder_num_heads=HEADS,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=INNER,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=extractor == "layer_norm",
        encoder_layer_drop=0.0,
        aux_num_out=5,
    )
    for parameter in network.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


def ours(**changes: object) -> Wav2VecEncoder:
    options: dict[str, object] = {
        "dim": DIM,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "feedforward_dim": INNER,
        "dropout": 0.0,
        "channels": CHANNELS,
        "kernels": KERNELS,
        "strides": STRIDES,
        "positions": "none",
    }
    return Wav2VecEncoder(input_dim=FEATURE, mode_names=MODE_NAMES, **(options | changes)).eval()  # type: ignore[arg-type]


def loaded(extractor: str) -> tuple[torchaudio.models.Wav2Vec2Model, Wav2VecEncoder, list[str]]:
    """Theirs, ours with its weights, and our keys that it does not have."""
    source = theirs(extractor)
    target = ours(extractor_norm=extractor.removesuffix("_norm"))
    renamed = from_torchaudio(source.state_dict(), MODE_NAMES)
    missing, unexpected = target.load_state_dict(renamed.tensors, strict=False)
    assert not unexpected
    return source, target, missing


def speech(num_frames: int) -> tuple[Tensor, Tensor]:
    """Samples as feature frames (1, T, F), and with the zeros on the left that our extractor hears (1, N)."""
    feats = 0.3 * torch.randn(1, num_frames, FEATURE, generator=torch.Generator().manual_seed(num_frames))
    return feats, F.pad(feats.flatten(1), (80, 0))


@pytest.mark.parametrize("extractor", ["layer_norm", "group_norm"])
@torch.no_grad()
def test_the_extractor_and_the_projection_are_theirs(extractor: str) -> None:
    source, target, _ = loaded(extractor)
    feats, samples = speech(46)
    extracted = target.extract(feats, torch.tensor([46]), FULL_CONTEXT)
    expected, _ = source.feature_extractor(samples, None)
    assert expected.shape == (1, 23, CHANNELS)
    torch.testing.assert_close(extracted, expected, atol=1e-5, rtol=1e-5)
    projected = source.encoder.feature_projection(expected)
    torch.testing.assert_close(target.project(extracted, FULL_CONTEXT), projected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_context_network_is_theirs_but_for_positions() -> None:
    source, target, missing = loaded("layer_norm")
    assert not missing
    feats, samples = speech(30)
    expected, _ = source.feature_extractor(samples, None)
    x = source.encoder.feature_projection(expected)
    hidden = []
    for layer in source.encoder.transformer.layers:
        x, _ = layer(x)
        hidden.append(x)
    output = target(feats, torch.tensor([30]), FULL_CONTEXT)
    for our_layer, their_layer in zip(output.hidden, hidden, strict=True):
        torch.testing.assert_close(our_layer, their_layer, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.frames, source.encoder.transformer.layer_norm(x), atol=1e-4, rtol=1e-4)


def test_what_has_no_place_is_said() -> None:
    for extractor in ("layer_norm", "group_norm"):
        state = theirs(extractor).state_dict()
        assert is_wav2vec(state)
        renamed = from_torchaudio(state)
        again = from_torchaudio({f"wav2vec2.{name}": tensor for name, tensor in state.items()})
        assert again.left == renamed.left
        assert again.tensors.keys() == renamed.tensors.keys()
        unmapped = ("aux.", "encoder.transformer.pos_conv_embed.")
        if extractor == "group_norm":  # norms after the residual connections
            unmapped += ("encoder.transformer.",)
        assert {name for name in state if name.startswith(unmapped)} == set(renamed.left)
    assert not is_wav2vec(ours().state_dict())


def test_a_norm_over_time_needs_the_utterance_and_ignores_padding() -> None:
    encoder = ours(extractor_norm="group")
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() == 1 else None
    lengths = torch.tensor([40, 17, 1])
    feats = torch.randn(3, 40, FEATURE)
    with torch.no_grad():
        batch = encoder(feats, lengths, FULL_CONTEXT).frames
        for row, length in enumerate(lengths.tolist()):
            alone = encoder(feats[row : row + 1, :length], lengths[row : row + 1], FULL_CONTEXT).frames[0]
            torch.testing.assert_close(batch[row, : len(alone)], alone, atol=1e-5, rtol=0)
    for call in (
        lambda: encoder(feats, lengths, streaming()),
        lambda: encoder.init_state(1, streaming()),
        lambda: encoder.step(feats, {}, streaming()),
    ):
        with pytest.raises(InputError, match="extractor_norm: group needs the whole utterance"):
            call()


def test_its_three_parts_make_it() -> None:
    encoder, mode = ours(stacking=2), streaming(left_context=4, chunk=3)
    assert (encoder.subsampling, encoder.extracted_dim, encoder.extractor.left_samples) == (4, 2 * CHANNELS, 80)
    feats, lengths = torch.randn(2, 37, FEATURE), torch.tensor([37, 22])
    extracted = encoder.extract(feats, lengths, mode)
    assert extracted.shape == (2, 12, 2 * CHANNELS)  # whole chunks of 3
    parts = encoder.context(encoder.project(extracted, mode), lengths, mode)
    whole = encoder(feats, lengths, mode, return_heads=True)
    assert parts.lengths.tolist() == whole.lengths.tolist() == [10, 6]
    assert torch.equal(parts.frames[:, :10], whole.frames)
    assert [heads.shape for heads in whole.heads] == [(2, HEADS, 10, DIM // HEADS)] * LAYERS


@torch.no_grad()
def test_its_step_compiles() -> None:
    encoder, mode = ours(positions="rotary"), streaming(left_context=4, chunk=2)
    step, state, own = compile_step(encoder, mode), encoder.init_state(3, mode), encoder.init_state(3, mode)
    for _ in range(4):
        chunk = torch.randn(3, mode.chunk * encoder.subsampling, FEATURE)
        frames, state = step(chunk, state)
        expected, own = encoder.step(chunk, own, mode)
        torch.testing.assert_close(frames, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": (5, 2)}, "kernels: 7 of them and 2 strides"),
        ({"kernels": (4, 3, 3, 3, 3, 2, 2)}, "kernels: 4 taps do not cover a stride of 5"),
        ({"kernels": (10, 3), "strides": (5, 2)}, "strides: an output frame of 10 samples is no multiple of a feature"),
        ({"stacking": 0}, "strides: an output frame of 0 samples"),
    ],
)
def test_bad_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours(**changes)


@pytest.mark.parametrize("mode", [FULL_CONTEXT, streaming(chunk=2, left_context=4, sparsity=0.5)], ids=MODE_NAMES)
def test_recomputing_gives_the_same_gradients(mode: Mode) -> None:
    feats, lengths = torch.randn(2, 24, FEATURE), torch.tensor([24, 15])
    gradients = []
    for checkpoint in (False, True):
        torch.manual_seed(5)
        encoder = ours(checkpoint=checkpoint).train()
        if mode.sparsity > 0:
            add_masks(encoder, [mode])
            Pruner(encoder, [mode], Blocks(), "layer", SparsitySchedule("constant", 0)).update(0)
        encoder(feats, lengths, mode).frames.square().sum().backward()
        gradients.append(
            [cast(Tensor, parameter.grad) for parameter in encoder.parameters() if parameter.grad is not None]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
