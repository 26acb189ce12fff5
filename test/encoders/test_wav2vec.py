"""The wav2vec 2.0 encoder against torchaudio's, and what it refuses."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from blocks import MODE_NAMES, make_encoder
from peers import torchaudio
from torch import Tensor
from torch.nn import functional as F

from dualtk.config import validate
from dualtk.encoders.wav2vec import Wav2VecEncoder, Wav2VecOptions
from dualtk.encoders.wav2vec_weights import from_torchaudio, is_wav2vec
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.pruning.masks import prunable_layers
from dualtk.pruning.pruner import PruningOptions
from dualtk.pruning.schedule import SparsitySchedule
from dualtk.streaming.compiled_step import compile_step

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
CHANNELS, DIM, HEADS, LAYERS, INNER = 12, 16, 4, 2, 24
FEATURE = 160
EXTRACTORS = ["layer_norm", "group_norm"]


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
    encoder: Wav2VecEncoder = make_encoder("wav2vec", FEATURE, **{**options, **changes})
    return encoder.eval()


def twin(extractor: str, **changes: object) -> Wav2VecEncoder:
    """Ours, of the kind of theirs."""
    norm, pre_norm = extractor.removesuffix("_norm"), extractor == "layer_norm"
    options: dict[str, object] = {"positions": "convolution", "position_kernel": 8, "position_groups": 2}
    return ours(**{"extractor_norm": norm, "pre_norm": pre_norm, **options, **changes})


def loaded(extractor: str) -> tuple[torchaudio.models.Wav2Vec2Model, Wav2VecEncoder]:
    """Theirs without what follows the encoder, and ours with all of its weights."""
    source, target = theirs(extractor), twin(extractor)
    source.aux = None
    target.load_state_dict(from_torchaudio(source.state_dict(), MODE_NAMES).tensors)
    return source, target


def speech(num_frames: int) -> tuple[Tensor, Tensor]:
    """Samples as feature frames (1, T, F), and with the zeros on the left that our extractor hears (1, N)."""
    feats = 0.3 * torch.randn(1, num_frames, FEATURE, generator=torch.Generator().manual_seed(num_frames))
    return feats, F.pad(feats.flatten(1), (80, 0))


@pytest.mark.parametrize("extractor", EXTRACTORS)
@torch.no_grad()
def test_the_extractor_and_the_projection_are_theirs(extractor: str) -> None:
    source, target = loaded(extractor)
    feats, samples = speech(46)
    extracted = target.extract(feats, torch.tensor([46]), FULL_CONTEXT)
    expected, _ = source.feature_extractor(samples, None)
    assert expected.shape == (1, 23, CHANNELS)
    torch.testing.assert_close(extracted, expected, atol=1e-5, rtol=1e-5)
    projected = source.encoder.feature_projection(expected)
    torch.testing.assert_close(target.project(extracted, FULL_CONTEXT), projected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@torch.no_grad()
def test_the_whole_network_is_theirs(extractor: str) -> None:
    source, target = loaded(extractor)
    for num_frames in (2, 30, 64):
        feats, samples = speech(num_frames)
        output = target(feats, torch.tensor([num_frames]), FULL_CONTEXT)
        expected, _ = source(samples)
        torch.testing.assert_close(output.frames, expected, atol=1e-5, rtol=1e-5)
        blocks, _ = source.extract_features(samples)
        for our_block, their_block in zip(output.hidden, blocks, strict=True):
            torch.testing.assert_close(our_block, their_block, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extractor", EXTRACTORS)
@torch.no_grad()
def test_a_batch_is_theirs_but_for_a_norm_that_counts_padding(extractor: str) -> None:
    source, target = loaded(extractor)
    lengths = torch.tensor([64, 40, 18, 2])
    feats = torch.cat([F.pad(speech(int(length))[0], (0, 0, 0, 64 - int(length))) for length in lengths])
    output = target(feats, lengths, FULL_CONTEXT)
    expected, expected_lengths = source(F.pad(feats.flatten(1), (80, 0)), lengths * FEATURE + 80)
    assert output.lengths.tolist() == expected_lengths.tolist()
    for row, length in enumerate(output.lengths.tolist()):
        frames, in_batch = output.frames[row, :length], expected[row, :length]
        alone, _ = source(speech(int(lengths[row]))[1])
        torch.testing.assert_close(frames, alone[0], atol=1e-5, rtol=1e-5)
        if extractor == "layer_norm" or row == 0:
            torch.testing.assert_close(frames, in_batch, atol=1e-5, rtol=1e-5)
        else:
            assert (in_batch - alone[0]).abs().max() > 0.1  # theirs differs from itself


@pytest.mark.parametrize("extractor", EXTRACTORS)
@torch.no_grad()
def test_weight_norm_in_any_of_its_names(extractor: str) -> None:
    source, target = loaded(extractor)
    state, start = source.state_dict(), "encoder.transformer.pos_conv_embed.conv."
    size, direction = (state.pop(f"{start}parametrizations.weight.original{index}") for index in (0, 1))
    weight = source.encoder.transformer.pos_conv_embed.conv.weight
    for own in ({"weight_g": size, "weight_v": direction}, {"weight": weight}):
        renamed = from_torchaudio(state | {start + name: tensor for name, tensor in own.items()})
        torch.testing.assert_close(renamed.tensors["positions.weight"], weight)
        torch.testing.assert_close(target.get_parameter("positions.weight"), weight)
        assert not renamed.left


def test_what_has_no_place_is_what_follows_the_encoder() -> None:
    for extractor in EXTRACTORS:
        state = theirs(extractor).state_dict()
        assert is_wav2vec(state)
        renamed = from_torchaudio(state)
        assert renamed.kind == twin(extractor).kind
        for outer in ("wav2vec2.", "model."):
            within = {f"{outer}{name}": tensor for name, tensor in state.items()}
            assert is_wav2vec(within)
            again = from_torchaudio(within)
            assert again.kind == renamed.kind
            assert again.left == renamed.left == ["aux.weight", "aux.bias"]
            assert again.tensors.keys() == renamed.tensors.keys()
    assert not is_wav2vec(ours().state_dict())


@torch.no_grad()
def test_their_weights_stream() -> None:
    """What is loaded for full context streams too: frames stay as they are when more is heard."""
    _, encoder = loaded("layer_norm")
    mode, (feats, _) = streaming(left_context=6, chunk=2), speech(48)
    whole = encoder(feats, torch.tensor([48]), mode).frames
    for heard in (4, 20, 36):
        part = encoder(feats[:, :heard], torch.tensor([heard]), mode).frames
        torch.testing.assert_close(part, whole[:, : heard // 2], atol=1e-5, rtol=0)
    assert (whole - encoder(feats, torch.tensor([48]), FULL_CONTEXT).frames).abs().max() > 0.1


def test_options_change_no_masked_layer() -> None:
    plain = prunable_layers(ours(positions="rotary"))
    for extractor in EXTRACTORS:
        assert prunable_layers(twin(extractor)).keys() == plain.keys()


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


@pytest.mark.parametrize("changes", [{"positions": "rotary"}, {"positions": "convolution", "pre_norm": False}])
@torch.no_grad()
def test_its_step_compiles(changes: dict[str, object]) -> None:
    encoder, mode = ours(**changes), streaming(left_context=4, chunk=2)
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
        ({"positions": "convolution", "position_groups": 3}, "position_groups: 3 groups do not divide a dim of 16"),
    ],
)
def test_bad_sizes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours(**changes)


def test_an_output_frame_has_samples() -> None:
    with pytest.raises(InputError, match=r"^x\.yaml: stacking: must be greater than 0, not 0$"):
        validate(Wav2VecOptions, {"name": "wav2vec", "stacking": 0}, "x.yaml")


@pytest.mark.parametrize("changes", [{}, {"positions": "convolution", "pre_norm": False}], ids=["plain", "paper"])
@pytest.mark.parametrize("mode", [FULL_CONTEXT, streaming(chunk=2, left_context=4, sparsity=0.5)], ids=MODE_NAMES)
def test_recomputing_gives_the_same_gradients(mode: Mode, changes: dict[str, object]) -> None:
    feats, lengths = torch.randn(2, 24, FEATURE), torch.tensor([24, 15])
    gradients = []
    for checkpoint in (False, True):
        torch.manual_seed(5)
        encoder = ours(gradient_checkpointing=checkpoint, **changes).train()
        if mode.sparsity > 0:
            pruning = PruningOptions(schedule=SparsitySchedule(shape="constant"))
            pruning.add_masks(encoder, [mode])
            pruning.build(encoder, [mode]).update(0)
        encoder(feats, lengths, mode).frames.square().sum().backward()
        gradients.append(
            [cast(Tensor, parameter.grad) for parameter in encoder.parameters() if parameter.grad is not None]
        )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
