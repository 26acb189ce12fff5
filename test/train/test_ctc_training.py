"""Training with a CTC loss from the command: it learns, continues, loads, and two processes take the steps of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import train_arguments
from two_processes import assert_two_equal_one

from dualtk.bin.train import main
from dualtk.search.ctc import CTCGreedySearch
from dualtk.trained import load

pytestmark = pytest.mark.slow

TERM = "terms={ctc_consistency: {student: streaming, teacher: full, weight: 0.1, symmetric: true}}"
FADING = "ctc={weight: 2.0, final_weight: 0.2, decay_steps: 8}"


def metrics(exp: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp = tmp_path_factory.mktemp("ctc") / "exp"
    assert main(train_arguments(corpus, exp, FADING, TERM, "augment=null")) == 0
    return exp


def test_noise_that_cannot_be_aligned_is_said_to_be_so(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="dualtk"):
        assert main(train_arguments(corpus, tmp_path / "exp", "ctc={}", "train.max_steps=4")) == 0
    lines = caplog.messages
    assert sum(line.startswith("labels without audio give a transducer loss of ") for line in lines) == 1
    for mode in ("full", "streaming"):
        assert sum(line.startswith(f"step 4: {mode}: not aligned yet: CTC loss ") for line in lines) == 1
    assert any("fewer tokens" in line for line in lines)


def test_it_learns_and_is_logged_in_every_mode(trained: Path) -> None:
    valid = metrics(trained, "valid")
    for mode in ("full", "streaming"):
        losses = [line[f"{mode}/ctc"] for line in valid]
        assert losses == sorted(losses, reverse=True)
        assert all(line[f"{mode}/ctc_errors"] > 0 for line in valid)
    assert all(0 <= line["ctc_unalignable"] <= 1 for line in valid)
    assert all(line["streaming/ctc_consistency"] >= 0 for line in valid)
    for line in valid:
        assert line["choice"] == pytest.approx((line["full/rnnt"] + line["streaming/rnnt"]) / 2)


def test_a_run_that_was_stopped_ends_with_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    """Stopped while the weight goes down; the schedule of the learning rate does not know the last step."""
    options = [FADING, TERM, "schedule={name: transformer, lr: 0.003, warmup_steps: 4}"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(train_arguments(corpus, whole, *options, "train.max_steps=10")) == 0
    assert main(train_arguments(corpus, broken, *options, "train.max_steps=6")) == 0
    assert main([*train_arguments(corpus, broken, *options, "train.max_steps=10"), "--override"]) == 0
    states = [torch.load(exp / "checkpoints/last.pt", weights_only=True)["objective"] for exp in (whole, broken)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_trained_network_has_its_head(trained: Path) -> None:
    network = load(trained).network
    assert network.ctc is not None
    search = CTCGreedySearch(network.ctc)
    (stream,) = search.start(1)
    feats, lengths = torch.randn(1, 48, 16), torch.tensor([48])
    for mode in ("full", "streaming"):
        with torch.no_grad():
            encoded = network.encode(network.normalize(feats, lengths), lengths, load(trained).mode(mode))
        search.advance(encoded.frames, encoded.lengths, [stream])
    assert stream.num_frames == 24


def test_two_processes_equal_one(corpus: Path, tmp_path: Path) -> None:
    """The first steps draw a pass, the others run both; the weight has gone to zero before the end."""
    shared = [
        "model.encoder.convolution_norm=layer",
        "model.encoder.dropout=0.0",
        "model.predictor={name: stateless, dim: 16}",
        "augment=null",
        "sampled_steps=3",
        "train.max_steps=6",
        "ctc={weight: 1.0, final_weight: 0.0, decay_steps: 5}",
        TERM,
        "optimizer={name: adam, eps: 0.001, weight_decay: 0.0}",
    ]
    assert_two_equal_one(corpus, tmp_path, *shared)
