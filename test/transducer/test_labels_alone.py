"""What labels alone give, against losses of networks that are the same in every frame."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dualtk.lattice.lattice import Lattice
from dualtk.transducer.ctc import CTCLoss
from dualtk.transducer.labels_alone import LabelsAlone, labels_alone

TARGETS = [[1, 2, 2], [3], [1, 1, 4, 2, 1], []]
FRAMES = [12, 5, 20, 7]
VOCABULARY = 6


def padded() -> tuple[Tensor, Tensor]:
    width = max(map(len, TARGETS))
    return torch.tensor([one + [0] * (width - len(one)) for one in TARGETS]), torch.tensor([*map(len, TARGETS)])


def transducer_losses(logits: Tensor) -> Tensor:
    """(V,) logits of every cell -> (B,) transducer losses."""
    targets, lengths = padded()
    log_probs = logits.log_softmax(0)
    blank = log_probs[0].expand(len(TARGETS), max(FRAMES), targets.shape[1] + 1)
    label = torch.cat([log_probs[targets], log_probs.new_zeros(len(TARGETS), 1)], 1)
    label = label.unsqueeze(1).expand(blank.shape)
    return Lattice(blank, label, torch.tensor(FRAMES), lengths).loss("none")


def ctc_losses(logits: Tensor) -> Tensor:
    """(V,) logits of every frame -> (B,) CTC losses."""
    targets, lengths = padded()
    log_probs = logits.log_softmax(0).expand(len(TARGETS), max(FRAMES), -1)
    loss = CTCLoss(weight=1.0, final_weight=None, decay_steps=0)
    return loss(log_probs, torch.tensor(FRAMES), targets, lengths)


def least(losses) -> float:
    """The least mean loss over all logits."""
    logits = torch.zeros(VOCABULARY, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = losses(logits).mean()
        value.backward()
        return value

    optimizer.step(closure)
    return losses(logits).mean().item()


@pytest.fixture(scope="module")
def found() -> LabelsAlone:
    return labels_alone(TARGETS, FRAMES, VOCABULARY)


def test_the_entropy_is_that_of_the_labels(found: LabelsAlone) -> None:
    shares = [4 / 9, 3 / 9, 1 / 9, 1 / 9]
    assert found.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_no_constant_transducer_is_better(found: LabelsAlone) -> None:
    assert found.transducer == pytest.approx(least(transducer_losses), rel=1e-6)


def test_no_constant_ctc_is_better(found: LabelsAlone) -> None:
    assert found.ctc == pytest.approx(least(ctc_losses), rel=1e-3)


def test_many_utterances_are_the_mean_of_their_batches() -> None:
    once, often = labels_alone(TARGETS, FRAMES, VOCABULARY), labels_alone(TARGETS * 50, FRAMES * 50, VOCABULARY)
    assert often.transducer == pytest.approx(once.transducer)
    assert often.ctc == pytest.approx(once.ctc)


def test_utterances_that_cannot_be_aligned_cost_nothing_as_in_training(found: LabelsAlone) -> None:
    more = labels_alone([*TARGETS, [1, 1, 1, 1]], [*FRAMES, 3], VOCABULARY)
    assert math.isfinite(more.ctc)
    assert more.ctc < found.ctc


def test_of_a_large_set_some_stand_for_all() -> None:
    """As many labels of each length in every part of the set, in any order."""
    targets, frames = (
        [[1 + index % 3] * (1 + index % 4) for index in range(2000)],
        [8 + index % 4 for index in range(2000)],
    )
    every, part = labels_alone(targets, frames, VOCABULARY), labels_alone(targets[:200], frames[:200], VOCABULARY)
    assert every.ctc == pytest.approx(part.ctc, rel=0.02)
    assert every.transducer == pytest.approx(part.transducer, rel=0.02)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"full/rnnt": 99.0, "full/ctc": 101.0, "streaming/rnnt": 20.0, "streaming/ctc": 60.0}, ["full: not aligned"]),
        ({"full/rnnt": 99.0, "streaming/rnnt": 71.0}, ["full: not aligned", "streaming: not aligned"]),
        ({"full/rnnt": 69.0, "streaming/rnnt": 20.0}, []),
    ],
)
def test_a_network_that_says_what_labels_say_has_not_aligned(values: dict[str, float], names: list[str]) -> None:
    lines = LabelsAlone(entropy=3.0, transducer=100.0, ctc=100.0).warnings(values, ["full", "streaming"], 7)
    assert [line.startswith(f"step 7: {name}") for line, name in zip(lines, names)] == [True] * len(names)
    assert len(lines) == len(names)
