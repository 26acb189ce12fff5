"""Variational noise: weights that a step sees, weights that the optimiser moves, and every process alike."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after
from tiny import train_arguments
from torch import nn
from two_processes import assert_two_equal_one

from dualtk.bin.train import main
from dualtk.errors import InputError
from dualtk.train.weight_noise import WeightNoise, WeightNoiseOptions


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(300, 200), nn.LayerNorm(200), nn.Linear(200, 100))


def noise_of(made: nn.Sequential, options: WeightNoiseOptions, step: int, seed: int = 1) -> list[torch.Tensor]:
    """What is added to each parameter."""
    before = [parameter.detach().clone() for parameter in made.parameters()]
    with WeightNoise(made, options, seed).added(step):
        inside = [parameter.detach() - old for parameter, old in zip(made.parameters(), before)]
    assert all(torch.equal(parameter, old) for parameter, old in zip(made.parameters(), before))
    return inside


def test_matrices_have_noise_of_the_deviation_asked_for_and_lose_it() -> None:
    options = WeightNoiseOptions(std=0.3, start_step=5)
    assert all(one.abs().max() == 0 for one in noise_of(network(), options, 4))
    for one in noise_of(network(), options, 5):
        if one.dim() > 1:
            assert abs(float(one.std()) - 0.3) < 0.01
            assert abs(float(one.mean())) < 0.01
        else:
            assert one.abs().max() == 0


def test_noise_follows_from_seed_and_step_alone() -> None:
    options = WeightNoiseOptions(std=0.3, start_step=0)
    torch.manual_seed(17)
    first = noise_of(network(), options, 3)
    torch.manual_seed(18)
    assert all(torch.equal(*pair) for pair in zip(first, noise_of(network(), options, 3)))
    for other in (noise_of(network(), options, 4), noise_of(network(), options, 3, seed=2)):
        assert not torch.equal(first[0], other[0])


def test_a_part_alone_and_what_is_held() -> None:
    made = network()
    made[2].requires_grad_(False)
    only = noise_of(made, WeightNoiseOptions(start_step=0, modules=("0",)), 0)
    assert [bool(one.abs().max() > 0) for one in only] == [True, False, False, False, False, False]
    everything = noise_of(made, WeightNoiseOptions(start_step=0), 0)
    assert everything[0].abs().max() > 0
    assert everything[4].abs().max() == 0
    for name in ("decoder", "1"):  # a norm has no matrix
        with pytest.raises(InputError, match=rf"train\.weight_noise\.modules: the network has no weights in {name}$"):
            WeightNoise(made, WeightNoiseOptions(modules=(name,)), 1)


def test_an_error_inside_leaves_no_noise_behind() -> None:
    made = network()
    before = made[0].weight.detach().clone()
    inside = WeightNoise(made, WeightNoiseOptions(start_step=0), 1).added(0)
    with contextlib.suppress(ZeroDivisionError), inside:
        assert not torch.equal(made[0].weight, before)
        raise ZeroDivisionError
    assert torch.equal(made[0].weight, before)


def losses(exp: Path) -> list[tuple[str, float]]:
    lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines()]
    return [(line["kind"], line["loss"]) for line in lines]


@pytest.mark.slow
def test_a_run_with_noise_goes_on_to_the_bit_and_differs_from_the_start_on(corpus: Path, tmp_path: Path) -> None:
    noise = "train.weight_noise={std: 0.2, start_step: 5, modules: [predictor, joiner]}"
    for name, overrides in (("plain", []), ("whole", [noise]), ("parts", [noise])):
        if name == "parts":
            with stopped_after(8):
                main(train_arguments(corpus, tmp_path / name, *overrides))
        assert main(train_arguments(corpus, tmp_path / name, *overrides)) == 0
    plain, whole, parts = (losses(tmp_path / name) for name in ("plain", "whole", "parts"))
    assert parts == whole
    assert whole[:6] == plain[:6]  # five steps, of which the fourth has a validation
    assert whole[6] != plain[6]
    files = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())


@pytest.mark.slow
def test_two_processes_have_the_same_noise(corpus: Path, tmp_path: Path) -> None:
    """As one process that takes the whole batches; see test_loop.py."""
    shared = [
        "model.encoder.convolution_norm=layer",
        "model.encoder.dropout=0.0",
        "model.predictor={name: stateless, dim: 16}",
        "augment=null",
        "train.max_steps=6",
        "train.weight_noise={std: 0.1, start_step: 2}",
        "optimizer={name: adam, eps: 0.001, weight_decay: 0.0}",
    ]
    assert_two_equal_one(corpus, tmp_path, *shared)
