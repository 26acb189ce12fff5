"""What is recorded of a network, against the network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import INPUT_DIM, small_transducer
from torch import Tensor

from dualtk.analysis.activations import AttentionRecorder, observe
from dualtk.analysis.emission import emission, emission_lattices
from dualtk.analysis.scene import FIGURES, Scene, SeenUtterance, System
from dualtk.errors import InputError
from dualtk.lattice.lattice import Lattice
from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.attention import attend
from dualtk.transducer.criterion import ExactLossOptions

CHUNKED = streaming(left_context=4, chunk=2)


def utterance(num_frames: int = 46) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_frames, INPUT_DIM, generator=generator), torch.tensor([3, 1, 5, 2])


@pytest.mark.parametrize("biased", [False, True])
def test_recorded_weights_give_the_attention_s_own_output(biased: bool) -> None:
    query, key, value = torch.randn(3, 2, 4, 5, 6).unbind(0)
    mask = torch.zeros(2, 1, 5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -1e9)
    with AttentionRecorder() as recorder:
        output = attend(query, key, value, mask, torch.randn(2, 4, 5, 5) if biased else None)
    (weights,) = recorder.weights
    assert torch.allclose(weights @ value, output, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["relative", "rotary"])
@pytest.mark.parametrize("mode", [FULL_CONTEXT, CHUNKED])
def test_what_is_seen_is_what_the_network_does(positions: str, mode: Mode) -> None:
    model, (feats, targets) = small_transducer(positions=positions), utterance()
    seen = observe(model, feats, targets, mode)
    num_frames = -(-len(feats) // 4)
    assert [tuple(each.shape) for each in seen.attention] == [(2, num_frames, num_frames)] * 2
    assert [tuple(each.shape) for each in seen.hidden] == [(num_frames, model.encoder.output_dim)] * 2

    log_probabilities = torch.log_softmax(seen.joint_logits, dim=-1)
    assert torch.allclose(log_probabilities[..., 0], seen.lattice.blank[0], atol=1e-5)
    for label, target in enumerate(targets.tolist()):
        assert torch.allclose(log_probabilities[:, label, target], seen.lattice.label[0, :, label], atol=1e-5)

    lengths, target_lengths = torch.tensor([len(feats)]), torch.tensor([len(targets)])
    with torch.inference_mode(), model.mode(mode):
        run = model(model.normalize(feats[None], lengths), lengths, model.predict(targets[None]))
        (expected,) = ExactLossOptions(name="exact").build(model)([run], targets[None], target_lengths, 0)
    assert torch.allclose(seen.lattice.loss("none"), expected.loss, atol=1e-4)


def test_a_streaming_head_never_looks_beyond_its_chunk() -> None:
    seen = observe(small_transducer(positions="rotary"), *utterance(), CHUNKED)
    for weights in seen.attention:
        for frame in range(weights.shape[1]):
            start = frame // 2 * 2
            outside = torch.cat([weights[:, frame, : max(0, start - 4)], weights[:, frame, start + 2 :]], dim=1)
            assert float(outside.abs().sum()) < 1e-6


def test_emission_of_a_lattice_that_allows_one_path() -> None:
    emits = [1, 1, 4]
    blank, label = torch.full((1, 6, 4), -30.0), torch.full((1, 6, 4), -30.0)
    position = 0
    for frame in range(6):
        while position < 3 and emits[position] == frame:
            label[0, frame, position] = -0.01
            position += 1
        blank[0, frame, position] = -0.01
    lattice = Lattice(blank, label, torch.tensor([6]), torch.tensor([3]))
    found = emission(lattice)
    assert found.best_path.tolist() == emits
    assert np.allclose(found.posterior.sum(0), 1.0, atol=1e-4)
    assert found.posterior.argmax(0).tolist() == emits
    picture = emission_lattices({"one": found}, ["a", "b", "c"], 0.04)
    assert [row[:4] for row in picture.table.rows if row[5]] == [
        ["one", 0, "a", 1],
        ["one", 1, "b", 1],
        ["one", 2, "c", 4],
    ]
    assert picture.svg()


def scene(systems: list[tuple[str, Mode]], layer: int | None = None, reach: float = 0.0175) -> Scene:
    model = small_transducer(positions="rotary")
    utterances = [SeenUtterance(*utterance(num)) for num in (46, 60)]
    seen = {name: [observe(model, each.feats, each.targets, mode) for each in utterances] for name, mode in systems}
    pieces = ["<blk>", "<unk>", "▁A", "▁B", "C", "D", "E"]
    return Scene([System(name, model, mode, reach) for name, mode in systems], utterances, pieces, seen, layer)


@pytest.mark.parametrize("figure", sorted(FIGURES))
def test_every_figure_of_two_modes(figure: str) -> None:
    if figure == "tsne":
        pytest.importorskip("sklearn")
    pictures = FIGURES[figure](scene([("full", FULL_CONTEXT), ("streaming", CHUNKED)]))
    assert pictures
    for picture in pictures:
        assert picture.table.rows
        assert picture.svg().startswith("<svg ")


def test_a_lone_system_has_no_distances() -> None:
    assert FIGURES["distances"](scene([("full", FULL_CONTEXT)])) == []


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(InputError, match="layer 3: the encoder has layers 1 to 2"):
        FIGURES["attention"](scene([("full", FULL_CONTEXT)], layer=3))


@pytest.mark.parametrize("reach", [0.0175, 0.01])
def test_alignment_counts_the_wait_for_the_chunk(reach: float) -> None:
    stage = scene([("full", FULL_CONTEXT), ("streaming", CHUNKED)], reach=reach)
    (picture,) = FIGURES["alignment"](stage)
    path = stage.seen["streaming"][0].lattice.best_path()[0].tolist()
    times = [row[2] for row in picture.table.rows if row[0] == "streaming"]
    expected = [min((frame // 2 * 2 + 2) * 0.04 - 0.01 + reach, 0.46) for frame in path]
    assert times == pytest.approx(expected)
