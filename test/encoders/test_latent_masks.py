"""Masks of fine-tuning: how much they hide, from whom, and that no pass of a step sees others."""

from __future__ import annotations

from functools import partial
from typing import cast

import pytest
import torch
from blocks import make_encoder
from peers import torchaudio
from shipped import load_shipped, load_transducer
from torch import Tensor, nn

from dualtk.encoders.latent_masks import LatentMaskOptions, LatentMasks
from dualtk.encoders.wav2vec import Wav2VecEncoder
from dualtk.encoders.wav2vec_weights import from_torchaudio
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.masks import padding_mask

FEATURE, DIM = 20, 16
MASKS = LatentMaskOptions(time_probability=0.1, time_width=3, channel_probability=0.05, channel_width=4)
LENGTHS = torch.tensor([97, 60, 31, 3])
MODES = [FULL_CONTEXT, streaming(left_context=4, chunk=3), streaming(chunk=4, look_ahead_ms=20)]


def encoder(dropout: float = 0.0, masks: LatentMaskOptions | None = MASKS) -> Wav2VecEncoder:
    """Two feature frames make one."""
    torch.manual_seed(1)
    network: Wav2VecEncoder = make_encoder(
        "wav2vec",
        FEATURE,
        dim=DIM,
        num_layers=1,
        num_heads=2,
        feedforward_dim=24,
        dropout=dropout,
        channels=6,
        kernels=(10, 8),
        strides=(5, 8),
        latent_masks=masks,
    )
    return network


def make_masks(dim: int, **options: object) -> LatentMasks:
    """Masks over `dim` channels; options that are not given have their defaults."""
    return LatentMasks(dim, **LatentMaskOptions.model_validate(options).arguments())


def seen(network: nn.Module, kept: list[tuple[Tensor, Tensor]]) -> None:
    """Keep what goes into the masks of a network and what comes out of them."""

    def keep(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append((inputs[0].detach(), output.detach()))

    for module in network.modules():
        if isinstance(module, LatentMasks):
            module.register_forward_hook(keep)


def is_embedding(embedding: Tensor, frames: Tensor) -> Tensor:
    """(B, T', D) -> (B, T') bool: the frames that were replaced, whatever channels are zero."""
    return ((frames == embedding) | (frames == 0)).all(2)


def is_zero(frames: Tensor) -> Tensor:
    """(B, T', D) -> (B, D) bool: the channels without a value."""
    return (frames == 0).all(1)


def covered(probability: float, width: int, size: int) -> float:
    """Expected part of an axis: position n is hidden by a span that begins at one of min(n + 1, width) positions."""
    reach = torch.arange(1, size + 1).clamp(max=width).double()
    return float((1 - (1 - probability) ** reach).mean())


@pytest.mark.parametrize(("probability", "width"), [(0.05, 10), (0.16, 3), (0.0, 5), (1.0, 1)])
def test_as_much_is_hidden_as_configured(probability: float, width: int) -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([500, 300] * 800)
    time = make_masks(8, channel_width=8, time_probability=probability, time_width=width).draw(lengths, 500)
    assert not bool((time.frames & ~padding_mask(lengths, 500)).any())
    for size in (500, 300):
        rate = time.frames[lengths == size, :size].float().mean()
        assert float(rate) == pytest.approx(covered(probability, width, size), abs=0.01)
    channels = make_masks(200, channel_probability=probability, channel_width=width).draw(lengths, 500).channels
    assert float(channels.float().mean()) == pytest.approx(covered(probability, width, 200), abs=0.015)


@pytest.mark.parametrize("mode", MODES, ids=["full", "streaming", "look-ahead"])
def test_spans_of_frames_are_the_embedding_and_spans_of_channels_zero(mode: Mode) -> None:
    network, kept = encoder().train(), []
    seen(network, kept)
    network(torch.randn(4, 97, FEATURE), LENGTHS, mode)
    masks = cast(LatentMasks, network.latent_masks)
    frames = (LENGTHS + 1) // 2
    hidden = masks.draw(frames, 49)
    ((before, after),) = kept
    assert after.shape == (4, 49 + -49 % mode.chunk, DIM)
    for row, length in enumerate(frames.tolist()):
        for frame in range(after.shape[1]):
            masked = frame < length and bool(hidden.frames[row, frame])
            expected = (masks.embedding.detach() if masked else before[row, frame]) * ~hidden.channels[row]
            assert torch.equal(after[row, frame], expected)
    drawn = [(row.tolist(), 3, int(length)) for row, length in zip(hidden.frames, frames)]
    drawn += [(row.tolist(), 4, DIM) for row in hidden.channels]
    assert hidden.frames.any()
    assert hidden.channels.any()
    for row, width, end in drawn:
        edges = [i for i, (one, other) in enumerate(zip([False, *row], [*row, False])) if one != other]
        assert all(last - first >= width or last == end for first, last in zip(edges[::2], edges[1::2]))


def test_nothing_is_hidden_in_evaluation_or_where_nothing_is_asked() -> None:
    feats = torch.randn(4, 97, FEATURE)
    for mode in MODES:
        with torch.no_grad():
            plain = encoder(masks=None)
            own = encoder()
            own.load_state_dict(plain.state_dict(), strict=False)
            expected = plain.train()(feats, LENGTHS, mode).frames
            assert torch.equal(own.eval()(feats, LENGTHS, mode).frames, expected)
            assert not torch.equal(own.train()(feats, LENGTHS, mode).frames, expected)


def test_all_passes_of_a_step_see_the_same_masks() -> None:
    """Whatever dropout draws between them; another seed brings others."""
    network, kept = encoder(dropout=0.3).train(), []
    seen(network, kept)
    feats, hidden = torch.randn(4, 97, FEATURE), []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        for mode in MODES:
            network(feats, LENGTHS, mode)
        after = [output[:, :49] for _, output in kept]
        kept.clear()
        embedding = cast(LatentMasks, network.latent_masks).embedding.detach()
        frames, channels = ([f(one) for one in after] for f in (partial(is_embedding, embedding), is_zero))
        assert all(torch.equal(one, frames[0]) for one in frames)
        assert all(torch.equal(one, channels[0]) for one in channels)
        hidden.append((frames[0], channels[0]))
    for one, again, other in zip(*hidden):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


def test_the_masks_take_no_number_from_others() -> None:
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    masks = LatentMasks(DIM, **MASKS.arguments())
    torch.manual_seed(3)
    masks.train()(torch.randn(4, 49, DIM, generator=torch.Generator().manual_seed(1)), LENGTHS // 2, 49)
    assert torch.equal(torch.rand(5), expected)


def test_shipped_fine_tuning_hides_the_same_from_both_passes() -> None:
    """Through the objective; `before != after` is a hidden value, as no latent frame is its embedding or zero."""
    small = ["dim=32", "num_heads=2", "num_layers=1", "feedforward_dim=24", "channels=8", "dropout=0.0"]
    overrides = [f"model.encoder.{change}" for change in [*small, "latent_masks.channel_width=4"]]
    overrides += ["loss={name: exact}", "model.predictor={name: stateless, dim: 16}", "model.joiner.joiner_dim=16"]
    system = load_transducer("wav2vec_finetune", "paper", *overrides)
    torch.manual_seed(2)
    mean = torch.zeros(system.features.dim)
    objective, kept = system.build_objective(system.build_network(9, mean, mean + 1)).train(), []
    assert not objective.terms
    assert len(objective.plan.at(0)) == 2
    seen(objective, kept)
    lengths = torch.tensor([401, 240])
    targets = torch.tensor([[1, 2], [3, 4]])
    torch.manual_seed(5)
    objective(torch.randn(2, 401, len(mean)), lengths, targets, torch.tensor([2, 2]), 0).total.backward()
    assert len(kept) == 2
    subsampling = objective.network.encoder.subsampling
    valid = padding_mask((lengths + subsampling - 1) // subsampling, -(-401 // subsampling))
    hidden = [(before != after)[:, : valid.shape[1]] & valid.unsqueeze(2) for before, after in kept]
    assert torch.equal(*hidden)
    assert float(hidden[0].any(2).sum() / valid.sum()) > 0.2
    gradient = dict(objective.named_parameters())["network.encoder.latent_masks.embedding"].grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0)


def test_the_gradient_reaches_the_embedding_and_no_hidden_frame() -> None:
    network = encoder().train()
    masks = cast(LatentMasks, network.latent_masks)
    projected = torch.randn(4, 49, DIM, requires_grad=True)
    frames = (LENGTHS + 1) // 2
    hidden = masks.draw(frames, 49)
    masks(projected, frames, 49).sum().backward()
    expected = (hidden.frames.unsqueeze(2) & ~hidden.channels.unsqueeze(1)).sum((0, 1)).float()
    assert torch.equal(cast(Tensor, masks.embedding.grad), expected)
    open_to_gradient = ~hidden.frames.unsqueeze(2) & ~hidden.channels.unsqueeze(1)
    assert torch.equal(cast(Tensor, projected.grad), open_to_gradient.float())


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_kind_of_number_is_kept(kind: torch.dtype) -> None:
    masks = LatentMasks(DIM, **MASKS.arguments()).train()
    assert masks(torch.randn(4, 49, DIM).to(kind), (LENGTHS + 1) // 2, 49).dtype == kind


def test_the_embedding_of_torchaudio_is_taken() -> None:
    theirs = torchaudio.models.hubert_pretrain_model(
        *("layer_norm", [(6, 10, 5), (6, 3, 2)], True, DIM, 0.0, 8, 2, 1, 2, 0.0, 24, 0.0, 0.0, True, 0.0, 0.8),
        *("static", 0.0, 10, False, 1, 0.0, "static", 0.0, 10, False, 1, False, False, 12, 5, 0.1),
    )
    found = from_torchaudio(theirs.state_dict())
    assert torch.equal(found.tensors["latent_masks.embedding"], theirs.mask_generator.mask_embedding)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_probability": 1.1}, "probability lies in"),
        ({"channel_probability": -0.1}, "probability lies in"),
        ({"time_width": 0}, "length is at least 1"),
        ({"channel_width": 0}, "length is at least 1"),
        ({"channel_width": DIM + 1}, "latent_masks: channel_width: spans of 17 do not fit into 16 channels"),
    ],
)
def test_impossible_masks_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        LatentMasks(DIM, **{**MASKS.arguments(), **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("time_probability", 1.1), ("channel_probability", -0.1), ("time_width", 0), ("channel_width", 0), ("width", 3)],
)
def test_the_key_at_fault_is_named(key: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"model\.encoder\.latent_masks\.{key}: ") as caught:
        load_transducer("wav2vec_finetune", "paper", f"model.encoder.latent_masks.{key}={value}")
    assert "\n" not in str(caught.value)


def test_pre_training_has_masks_of_its_own() -> None:
    with pytest.raises(InputError, match=r"model\.encoder\.latent_masks: for fine-tuning"):
        load_shipped("wav2vec_pretrain", "cpu-synthetic", "model.encoder.latent_masks={}")
