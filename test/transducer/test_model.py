"""The door, the argument behind it, and look-ahead as a shift."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.system import TransducerSystem, load
from dualtk.transducer.model import Transducer

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "model.encoder.dim=16",
    "model.encoder.num_layers=2",
    "model.encoder.feedforward_dim=24",
    "model.encoder.kernel=5",
    "model.encoder.subsampling_channels=4",
    "model.predictor.dim=16",
    "model.joiner.joiner_dim=16",
]


@pytest.fixture
def network() -> Transducer:
    torch.manual_seed(0)
    system = load(ROOT / "test/conf/dual_conformer.yaml", overrides=TINY)
    assert isinstance(system, TransducerSystem)
    return system.build_network(10, torch.zeros(80), torch.ones(80)).eval()


STREAMING = streaming(left_context=4, chunk=2)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(2, 40, 80), torch.tensor([40, 29]), torch.randint(1, 10, (2, 3))


def test_the_door_means_the_argument(network: Transducer) -> None:
    feats, lengths, targets = inputs()
    predicted = network.predict(targets)
    for mode in (FULL_CONTEXT, STREAMING):
        with network.mode(mode):
            through_door = network(feats, lengths, predicted)
        argument = network(feats, lengths, predicted, mode)
        assert torch.equal(through_door.encoded.frames, argument.encoded.frames)


def test_modes_do_not_nest_and_are_never_guessed(network: Transducer) -> None:
    feats, lengths, targets = inputs()
    with network.mode(FULL_CONTEXT), pytest.raises(RuntimeError, match="do not nest"), network.mode(STREAMING):
        pass
    with pytest.raises(RuntimeError, match="no mode"):
        network(feats, lengths, network.predict(targets))


def test_two_threads_in_two_modes_do_not_meet(network: Transducer) -> None:
    feats, lengths, targets = inputs()
    predicted = network.predict(targets)
    expected = {mode: network(feats, lengths, predicted, mode).encoded.frames for mode in (FULL_CONTEXT, STREAMING)}
    wrong: list[Mode] = []

    def work(mode: Mode) -> None:
        for _ in range(30):
            if not torch.allclose(network(feats, lengths, predicted, mode).encoded.frames, expected[mode], atol=1e-6):
                wrong.append(mode)

    threads = [threading.Thread(target=work, args=(mode,)) for mode in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_look_ahead_is_a_shift_of_the_input(network: Transducer) -> None:
    feats, lengths, _ = inputs()
    ahead = network.encode(feats, lengths, streaming(left_context=4, chunk=2, look_ahead_ms=60)).frames
    shifted = torch.cat([feats[:, 6:], torch.zeros(2, 6, 80)], dim=1)
    assert torch.equal(ahead, network.encode(shifted, lengths, STREAMING).frames)


def test_padding_becomes_zero_after_normalization(network: Transducer) -> None:
    feats, lengths, _ = inputs()
    network.feature_mean.fill_(3.0)
    normal = network.normalize(feats, lengths)
    assert bool((normal[1, 29:] == 0).all())
    torch.testing.assert_close(normal[1, :29], feats[1, :29] - 3.0)
