"""The contrastive loss against loops, finite differences and torchaudio; distractors and penalties."""

from __future__ import annotations

import math

import pytest
import torch
from peers import torchaudio
from torch import Tensor
from torch.nn import functional

from dualtk.ssl.contrastive import contrast, contrastive_logits
from dualtk.ssl.distractors import draw_distractors
from dualtk.ssl.penalties import diversity_loss, feature_penalty
from dualtk.ssl.quantizer import perplexities

KAPPA = 0.1


def masked(*counts: int) -> Tensor:
    """(B, M) bool of utterances with so many masked frames."""
    return torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)


def small_batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context and targets (B, M, D), whose vectors are those of their codes, and which frames exist."""
    torch.manual_seed(seed)
    valid = masked(6, 4, 0, 2)
    codes = torch.randint(0, 2, (4, 6, 2))
    table = torch.randn(2, 2, 3, dtype=torch.float64)
    targets = torch.cat([table[0][codes[..., 0]], table[1][codes[..., 1]]], -1)
    return torch.randn(4, 6, 6, dtype=torch.float64), targets, codes, valid


def by_loops(context: Tensor, targets: Tensor, distractors: Tensor, b: int, m: int) -> tuple[float, bool]:
    def similarity(n: int) -> float:
        ours, theirs = context[b, m].tolist(), targets[b, n].tolist()
        dot = sum(x * y for x, y in zip(ours, theirs))
        return dot / math.sqrt(sum(x * x for x in ours)) / math.sqrt(sum(y * y for y in theirs)) / KAPPA

    rivals = [int(n) for n in distractors[b, m] if not torch.equal(targets[b, m], targets[b, int(n)])]
    own, others = similarity(m), [similarity(n) for n in rivals]
    loss = math.log(sum(math.exp(one - own) for one in [own, *others]))
    return loss, bool(others) and own > max(others)


def test_losses_are_those_of_loops() -> None:
    context, targets, codes, valid = small_batch()
    distractors = draw_distractors(valid, 4)
    found = contrast(contrastive_logits(context, targets, codes, distractors, KAPPA), valid)
    for b, m in valid.nonzero().tolist():
        loss, correct = by_loops(context, targets, distractors, b, m)
        assert float(found.losses[b, m]) == pytest.approx(loss)
        assert bool(found.correct[b, m]) == correct
    assert found.losses[~valid].abs().sum() == 0
    assert not found.correct[~valid].any()


def test_gradients_are_those_of_finite_differences() -> None:
    context, targets, codes, valid = (x[1:] for x in small_batch(1))
    distractors = draw_distractors(valid, 4)

    def losses(context: Tensor, targets: Tensor) -> Tensor:
        return contrast(contrastive_logits(context, targets, codes, distractors, KAPPA), valid).losses

    assert torch.autograd.gradcheck(losses, (context.requires_grad_(), targets.requires_grad_()))
    logits = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: diversity_loss(x.softmax(-1)), (logits,))


def test_logits_agree_with_torchaudio() -> None:
    """HuBERT's logits: a frame against the embeddings of all classes, its own class among the others hidden."""
    torch.manual_seed(2)
    num_classes, dim = 7, 8
    embeddings = torch.randn(num_classes, dim)
    label = torch.arange(num_classes).repeat(2)
    context = torch.randn(2 * num_classes, dim)
    theirs = torchaudio.models.wav2vec2.components._compute_logits(context, label, embeddings)
    # Of each class one frame is a distractor; the frame's own class by the other frame that has it.
    frame = torch.arange(2 * num_classes)
    distractors = torch.arange(num_classes).repeat(2 * num_classes, 1)
    distractors = torch.where(distractors == frame.unsqueeze(1), distractors + num_classes, distractors)
    ours = contrastive_logits(
        context.unsqueeze(0), embeddings[label].unsqueeze(0), label.view(1, -1, 1), distractors.unsqueeze(0), KAPPA
    )[0]
    torch.testing.assert_close(ours, theirs)
    assert int(torch.isinf(ours).sum()) == 2 * num_classes
    expected = functional.cross_entropy(theirs, torch.zeros(2 * num_classes, dtype=torch.long), reduction="none")
    found = contrast(ours.unsqueeze(0), torch.ones(1, 2 * num_classes, dtype=torch.bool))
    torch.testing.assert_close(found.losses[0], expected)
    assert torch.equal(found.correct[0], theirs.argmax(1) == 0)


def test_a_collapsed_codebook_has_no_loss_and_no_accuracy() -> None:
    context, targets, codes, valid = small_batch()
    context.requires_grad_()
    distractors = draw_distractors(valid, 4)
    logits = contrastive_logits(context, targets[:1, :1].expand_as(targets), torch.zeros_like(codes), distractors, 0.1)
    found = contrast(logits, valid)
    assert found.losses.abs().sum() == 0
    assert not found.correct.any()
    found.losses.sum().backward()
    assert context.grad is not None
    assert bool(torch.isfinite(context.grad).all())


@pytest.mark.parametrize("num_distractors", [1, 3, 8, 20])
def test_distractors_are_other_masked_frames_of_the_utterance(num_distractors: int) -> None:
    torch.manual_seed(3)
    valid = masked(12, 9, 2, 0)
    for _ in range(20):
        drawn = draw_distractors(valid, num_distractors)
        assert drawn.shape == (4, 12, num_distractors)
        for b, m in valid.nonzero().tolist():
            row, count = drawn[b, m].tolist(), int(valid[b].sum())
            assert m not in row
            assert all(0 <= n < count for n in row)
            assert count <= num_distractors or len(set(row)) == num_distractors


@pytest.mark.parametrize("num_distractors", [3, 20])
def test_distractors_are_uniform(num_distractors: int) -> None:
    torch.manual_seed(4)
    drawn = draw_distractors(masked(*[8] * 3000), num_distractors)
    share = torch.stack([torch.bincount(drawn[:, m].flatten(), minlength=8) for m in range(8)])
    expected = (1 - torch.eye(8)) * 3000 * num_distractors / 7
    torch.testing.assert_close(share.float(), expected, atol=3000 * num_distractors / 7 * 0.1, rtol=0)
    assert share.diagonal().sum() == 0


def test_a_generator_decides_the_distractors() -> None:
    valid = masked(6, 5)
    first, second = (draw_distractors(valid, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first[valid], second[valid])


def test_diversity_is_least_when_all_entries_share() -> None:
    """As equation 4, the negative entropy over G V, has it."""
    uniform = torch.full((2, 8), 1 / 8, dtype=torch.float64)
    assert float(diversity_loss(uniform)) == pytest.approx(0)
    one_entry = functional.one_hot(torch.zeros(2, dtype=torch.long), 8).double()
    assert float(diversity_loss(one_entry)) == pytest.approx(1 - 1 / 8)
    torch.manual_seed(5)
    drawn = [(3 * torch.randn(1, 8, dtype=torch.float64)).softmax(-1) for _ in range(20)]
    equation_4 = [float((p * p.log()).sum()) / 8 for p in drawn]
    ours = [float(diversity_loss(p)) for p in drawn]
    order = sorted(range(20), key=equation_4.__getitem__)
    assert order == sorted(range(20), key=ours.__getitem__)
    assert float(perplexities(drawn[0]).sum()) == pytest.approx(math.exp(-8 * equation_4[0]))
    assert ours[0] == pytest.approx((8 - math.exp(-8 * equation_4[0])) / 8)


def test_an_unused_entry_leaves_the_gradient_finite() -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.75]], requires_grad=True)
    diversity_loss(probabilities).backward()
    assert probabilities.grad is not None
    assert bool(torch.isfinite(probabilities.grad).all())


def test_the_penalty_is_the_mean_square_of_what_exists() -> None:
    x, valid = torch.randn(2, 4, 3), masked(4, 2)
    expected = sum(float(x[b, t] @ x[b, t]) for b, t in valid.nonzero().tolist()) / 18
    assert float(feature_penalty(x.masked_fill(~valid.unsqueeze(2), torch.nan), valid)) == pytest.approx(expected)
