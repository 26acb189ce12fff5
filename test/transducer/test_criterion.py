"""Losses of passes: each projection is made once a step, and sharing changes no number."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from blocks import make_term
from torch import nn

from dualtk.distill.terms import Outcome
from dualtk.encoders.base import EncoderOutput
from dualtk.lattice import prune_ranges_shared, rnnt_loss_simple
from dualtk.transducer.criterion import ExactLoss, ExactLossOptions, PrunedLoss, PrunedLossOptions
from dualtk.transducer.joiner import TanhJoiner
from dualtk.transducer.model import Pass
from dualtk.transducer.predicted import Predicted

BATCH, FRAMES, LABELS, DIM, VOCABULARY = 2, 9, 4, 5, 7
LENGTHS, TARGET_LENGTHS = torch.tensor([9, 6]), torch.tensor([2, 4])
TARGETS = torch.tensor([[3, 1, 0, 0], [6, 2, 2, 5]])


class Step:
    """Two encoders' frames and one predictor's outputs, with the joiner where they meet."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.frames = [torch.randn(BATCH, FRAMES, DIM, requires_grad=True) for _ in range(2)]
        self.outputs = torch.randn(BATCH, LABELS + 1, DIM, requires_grad=True)
        self.joiner = TanhJoiner(DIM, DIM, 6, VOCABULARY)
        self.pruned = PrunedLoss(DIM, DIM, VOCABULARY, **PrunedLossOptions(name="pruned", prune_range=3).arguments())

    def passes(self, shared: bool = True) -> list[Pass]:
        both = Predicted(self.outputs)
        return [
            Pass(EncoderOutput(frames, LENGTHS, []), both if shared else Predicted(self.outputs), self.joiner)
            for frames in self.frames
        ]

    def leaves(self) -> list[torch.Tensor]:
        return [*self.frames, self.outputs, *self.joiner.parameters()]


def count_calls(*layers: nn.Module) -> Counter[nn.Module]:
    calls: Counter[nn.Module] = Counter()
    for layer in layers:
        layer.register_forward_hook(lambda layer, *_: calls.update([layer]))
    return calls


@pytest.mark.parametrize("kind", ["exact", "pruned"])
def test_every_projection_is_made_once_for_all_passes_and_terms(kind: str) -> None:
    step = Step()
    joiner, pruned = step.joiner, step.pruned
    calls = count_calls(joiner.encoder, joiner.predictor, pruned.simple_encoder, pruned.simple_predictor)
    criterion = ExactLoss(**ExactLossOptions(name="exact").arguments()) if kind == "exact" else pruned
    passes = step.passes()
    losses = criterion(passes, TARGETS, TARGET_LENGTHS, 0)
    student, teacher = (Outcome(run, lambda found=found: found.lattice) for run, found in zip(passes, losses))
    make_term("full_kl")(student, teacher)
    expected = {joiner.encoder: 2, joiner.predictor: 1}
    if kind == "pruned":
        expected |= {pruned.simple_encoder: 2, pruned.simple_predictor: 1}
    assert calls == expected


@pytest.mark.parametrize("kind", ["exact", "pruned"])
def test_sharing_changes_no_loss_and_no_gradient(kind: str) -> None:
    step = Step()
    criterion = ExactLoss(**ExactLossOptions(name="exact").arguments()) if kind == "exact" else step.pruned
    totals = []
    for shared in (True, False):
        losses = criterion(step.passes(shared), TARGETS, TARGET_LENGTHS, 0)
        totals.append(torch.stack([one.loss for one in losses]).sum())
    assert totals[0].item() == totals[1].item()
    gradients = [torch.autograd.grad(total, step.leaves()) for total in totals]
    torch.testing.assert_close(*gradients)


def test_the_pruned_loss_is_its_published_parts() -> None:
    step = Step()
    pruned = step.pruned
    losses = pruned(step.passes(), TARGETS, TARGET_LENGTHS, 500)
    lm = pruned.simple_predictor(step.outputs)
    simple = [
        rnnt_loss_simple(
            pruned.simple_encoder(frames), lm, TARGETS, LENGTHS, TARGET_LENGTHS,
            lm_scale=0.25, reduction="none", return_occupation=True,
        )
        for frames in step.frames
    ]  # fmt: skip
    ranges = prune_ranges_shared(simple[0].occupation, simple[1].occupation, LENGTHS, TARGET_LENGTHS, 3)
    for one, alone, run in zip(losses, simple, step.passes(), strict=True):
        assert one.lattice.ranges is not None
        assert torch.equal(one.lattice.ranges, ranges)
        expected = 0.875 * alone.loss + 0.325 * run.lattice(TARGETS, TARGET_LENGTHS, ranges).loss("none")
        torch.testing.assert_close(one.loss, expected)
        assert set(one.parts) == {"rnnt", "simple"}
