"""Every term: its gradient against finite differences, its zero, and where no gradient goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from blocks import make_term
from distill.conftest import (
    BATCH,
    DIM,
    FRAMES,
    HEADS,
    LABELS,
    LENGTHS,
    RANGES,
    TARGET_LENGTHS,
    TARGETS,
    VOCABULARY,
    Side,
)
from torch import Tensor

from dualtk.distill.terms import Term, WeightedTerm
from dualtk.errors import InputError
from dualtk.lattice.lattice import Lattice
from dualtk.lattice.three_way import _log_rest, three_way

MakeSide = Callable[..., Side]

TERMS: dict[str, Callable[[], Term]] = {
    "three_way": lambda: make_term("three_way", shift=1),
    "three_way-sum": lambda: make_term("three_way", reduction="sum"),
    "three_way-symmetric": lambda: make_term("three_way", symmetric=True, shift=-1),
    "three_way-teacher": lambda: make_term("three_way", weighting="teacher", reduction="sum", shift=1),
    "l2": lambda: make_term("encoder_logits"),
    "l2-top-2": lambda: make_term("encoder_logits", top_k=2, reduction="sum"),
    "l2-reaching": lambda: make_term("encoder_logits", reach_teacher=True),
    "l2-centred": lambda: make_term("encoder_logits", centred=True, reach_teacher=True),
    "l2-elements": lambda: make_term("encoder_logits", distance="mean_square", centred=True, top_k=4),
    "cross_entropy": lambda: make_term("encoder_logits", distance="cross_entropy", reach_teacher=True),
    "cosine": lambda: make_term("encoder_logits", distance="cosine"),
    "hidden": lambda: make_term("hidden", reduction="sum"),
    "heads": lambda: make_term("heads"),
    "full_kl": lambda: make_term("full_kl", temperature=2.0),
    "full_kl-top-2": lambda: make_term("full_kl", top_k=2, reduction="sum"),
}
REACH_TEACHER = {"three_way-symmetric", "l2-reaching", "l2-centred", "cross_entropy"}


def evaluate(name: str, make_side: MakeSide, ranges: Tensor | None = None) -> tuple[Tensor, Side, Side]:
    additive = name.startswith("l2") or name in ("cross_entropy", "cosine")
    student, teacher = make_side(1, additive), make_side(2, additive)
    return TERMS[name]()(student.outcome(ranges), teacher.outcome(ranges)), student, teacher


def gradients(value: Tensor, side: Side) -> list[Tensor]:
    found = torch.autograd.grad(value, side.inputs(), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(side.inputs(), found)]


def differences(term: Term, learner: Side, value: Callable[[], Tensor], step: float = 1e-6) -> list[Tensor]:
    """Central finite differences of `value` with respect to the inputs of `learner`, entry by entry."""
    found = []
    for tensor in learner.inputs():
        grad = torch.zeros_like(tensor)
        for index in range(tensor.numel()):
            flat, kept = tensor.data.view(-1), tensor.data.view(-1)[index].item()
            ends = []
            for sign in (1, -1):
                flat[index] = kept + sign * step
                ends.append(value().item())
            flat[index] = kept
            grad.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
        found.append(grad)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [None, RANGES], ids=["full", "pruned"])
@pytest.mark.parametrize("name", [name for name in TERMS if name != "three_way-symmetric"])
def test_gradient_of_the_student(name: str, ranges: Tensor | None, make_side: MakeSide) -> None:
    value, student, teacher = evaluate(name, make_side, ranges)
    term = TERMS[name]()
    expected = differences(term, student, lambda: term(student.outcome(ranges), teacher.outcome(ranges)))
    for ours, theirs in zip(gradients(value, student), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_gradient_of_both_sides_of_a_symmetric_term(make_side: MakeSide) -> None:
    """Each half's gradient is that of a one-way term whose target is held still."""
    student, teacher = make_side(1), make_side(2)
    both = make_term("three_way", symmetric=True, shift=1)(student.outcome(), teacher.outcome())
    there = make_term("three_way", shift=1)(student.outcome(), teacher.outcome())
    back = make_term("three_way", shift=-1)(teacher.outcome(), student.outcome())
    torch.testing.assert_close(both, there + back)
    for side, alone in ((student, there), (teacher, back)):
        for ours, theirs in zip(gradients(both, side), gradients(alone, side)):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["l2-reaching", "l2-centred", "cross_entropy"])
def test_gradient_of_a_teacher_that_is_reached(name: str, make_side: MakeSide) -> None:
    value, student, teacher = evaluate(name, make_side)
    term = TERMS[name]()
    expected = differences(term, teacher, lambda: term(student.outcome(), teacher.outcome()))
    for ours, theirs in zip(gradients(value, teacher), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in TERMS if name not in REACH_TEACHER])
def test_no_gradient_reaches_a_stopped_teacher(name: str, make_side: MakeSide) -> None:
    value, student, teacher = evaluate(name, make_side)
    assert all(grad.abs().sum() == 0 for grad in gradients(value, teacher))
    assert any(grad.abs().sum() > 0 for grad in gradients(value, student))


@pytest.mark.parametrize(
    "name", [name for name in TERMS if name not in ("three_way", "three_way-symmetric", "three_way-teacher")]
)
def test_equal_passes_are_at_no_distance(name: str, make_side: MakeSide) -> None:
    term, side = TERMS[name](), make_side(3, "l2" in name or name in ("cross_entropy", "cosine"))
    value = term(side.outcome(), side.outcome())
    if name == "cross_entropy":  # its least value is the teacher's entropy
        logits = side.joiner.encoder(side.frames)
        entropy = -(logits.softmax(2) * logits.log_softmax(2)).sum(2)
        valid = torch.arange(FRAMES) < LENGTHS.unsqueeze(1)
        torch.testing.assert_close(value, entropy[valid].mean())
    else:
        assert value.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("distance", ["l2", "cross_entropy", "cosine"])
def test_top_k_of_the_whole_vocabulary_is_everything(distance: str, make_side: MakeSide) -> None:
    student, teacher = make_side(1, True).outcome(), make_side(2, True).outcome()
    whole = make_term("encoder_logits", distance=distance)(student, teacher)
    assert torch.equal(make_term("encoder_logits", distance=distance, top_k=6)(student, teacher), whole)
    fewer = make_term("encoder_logits", distance=distance, top_k=5)(student, teacher)
    assert not torch.equal(fewer, whole)
    assert torch.equal(make_term("full_kl", top_k=6)(student, teacher), make_term("full_kl")(student, teacher))


def test_encoder_logits_are_the_papers_sum(make_side: MakeSide) -> None:
    """Equation 1, loop by loop; the mean is over frames."""
    student, teacher = make_side(1, True), make_side(2, True)
    ours, theirs = (side.joiner.encoder(side.frames) for side in (student, teacher))
    total = sum(
        (ours[b, t, v] - theirs[b, t, v]).item() ** 2
        for b in range(2)
        for t in range(int(LENGTHS[b]))
        for v in range(6)
    )
    term = make_term("encoder_logits", reduction="sum")(student.outcome(), teacher.outcome())
    assert term.item() == pytest.approx(total / 2)
    assert make_term("encoder_logits")(student.outcome(), teacher.outcome()).item() == pytest.approx(
        total / int(LENGTHS.sum())
    )


def test_the_mean_over_elements_is_that_of_every_frame_and_logit(make_side: MakeSide) -> None:
    student, teacher = make_side(1, True), make_side(2, True)
    ours, theirs = (side.joiner.encoder(side.frames) for side in (student, teacher))
    apart = torch.cat([(ours - theirs)[b, : int(LENGTHS[b])] for b in range(2)])
    outcomes = student.outcome(), teacher.outcome()
    torch.testing.assert_close(make_term("encoder_logits", distance="mean_square")(*outcomes), apart.square().mean())
    centred = make_term("encoder_logits", distance="mean_square", centred=True)(*outcomes)
    torch.testing.assert_close(centred, (apart.square().mean(1) - apart.mean(1).square()).mean())


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("distance", ["l2", "mean_square"])
def test_a_constant_per_frame_is_free_where_logits_are_centred(
    make_side: MakeSide, distance: str, top_k: int | None
) -> None:
    """It moves the logits and not the softmax that they lead to."""
    student, teacher = make_side(1, True), make_side(2, True)
    free = make_term("encoder_logits", distance=distance, centred=True, top_k=top_k)
    paid = make_term("encoder_logits", distance=distance, top_k=top_k)
    before = [term(student.outcome(), teacher.outcome()) for term in (free, paid)]
    student.joiner.encoder.bias.data += 3.0
    after = [term(student.outcome(), teacher.outcome()) for term in (free, paid)]
    torch.testing.assert_close(after[0], before[0])
    assert abs(after[1] - before[1]) > 0.1


def test_top_k_takes_the_teachers_largest(make_side: MakeSide) -> None:
    student, teacher = make_side(1, True), make_side(2, True)
    ours, theirs = (side.joiner.encoder(side.frames) for side in (student, teacher))
    total = 0.0
    for b in range(2):
        for t in range(int(LENGTHS[b])):
            largest = sorted(range(6), key=lambda v: -theirs[b, t, v].item())[:2]
            total += sum((ours[b, t, v] - theirs[b, t, v]).item() ** 2 for v in largest)
    term = make_term("encoder_logits", top_k=2, reduction="sum")(student.outcome(), teacher.outcome())
    assert term.item() == pytest.approx(total / 2)


def test_vectors_are_the_papers_sums(make_side: MakeSide) -> None:
    """Equations 6 and 7, loop by loop."""
    student, teacher = make_side(1), make_side(2)
    hidden = heads = 0.0
    width = DIM // HEADS
    for ours, theirs in zip(student.layers, teacher.layers):
        for b in range(2):
            for t in range(int(LENGTHS[b])):
                apart = (ours[b, t] - theirs[b, t]).detach()
                hidden += apart.norm().item()
                heads += sum(apart[h * width : (h + 1) * width].norm().item() for h in range(HEADS))
    outcomes = student.outcome(), teacher.outcome()
    assert make_term("hidden", reduction="sum")(*outcomes).item() == pytest.approx(hidden / 2)
    assert make_term("heads", reduction="sum")(*outcomes).item() == pytest.approx(heads / 2)
    assert make_term("hidden")(*outcomes).item() == pytest.approx(hidden / (2 * int(LENGTHS.sum())))
    assert make_term("heads")(*outcomes).item() == pytest.approx(heads / (2 * HEADS * int(LENGTHS.sum())))


def test_full_kl_is_the_sum_over_the_lattice(make_side: MakeSide) -> None:
    student, teacher = make_side(1), make_side(2)
    outcomes = student.outcome(), teacher.outcome()

    def log_probabilities(side: Side) -> Tensor:
        encoder, predictor = side.joiner.encoder(side.frames), side.joiner.predictor(side.predicted)
        return side.joiner(encoder.unsqueeze(2), predictor.unsqueeze(1)).log_softmax(3)

    p, q = log_probabilities(teacher), log_probabilities(student)
    kl = (p.exp() * (p - q)).sum(3)
    cells = [kl[b, : LENGTHS[b], : TARGET_LENGTHS[b] + 1].flatten() for b in range(2)]
    torch.testing.assert_close(make_term("full_kl", reduction="sum")(*outcomes), torch.cat(cells).sum() / 2)
    torch.testing.assert_close(make_term("full_kl")(*outcomes), torch.cat(cells).mean())


def three_classes(side: Side) -> Tensor:
    """(B, T, U+1, 3): blank, label and the sum of all others in the whole softmax; no label after the last."""
    encoder, predictor = side.joiner.encoder(side.frames), side.joiner.predictor(side.predicted)
    every = side.joiner(encoder.unsqueeze(2), predictor.unsqueeze(1)).softmax(3).detach()
    classes = torch.zeros(BATCH, FRAMES, LABELS + 1, 3, dtype=every.dtype)
    for b in range(BATCH):
        for u in range(LABELS + 1):
            label = int(TARGETS[b, u]) if u < TARGET_LENGTHS[b] else None
            others = [v for v in range(1, VOCABULARY) if v != label]
            classes[b, :, u, 0] = every[b, :, u, 0]
            classes[b, :, u, 1] = 0.0 if label is None else every[b, :, u, label]
            classes[b, :, u, 2] = every[b, :, u, others].sum(1)
    return classes


def test_three_way_probabilities_are_sums_of_the_whole_softmax(make_side: MakeSide) -> None:
    """Blank, label and rest sum to one, and the term is their KL; the whole one is at least that of a coarser split."""
    student, teacher = make_side(1), make_side(2)
    outcomes = student.outcome(), teacher.outcome()
    expected = [three_classes(side) for side in (student, teacher)]
    mask = outcomes[0].lattice().mask()
    for outcome, classes in zip(outcomes, expected):
        lattice = outcome.lattice()
        blank, label = lattice.blank.exp(), lattice.label.exp()
        ours = torch.stack([blank, label, torch.exp(_log_rest(lattice.blank, lattice.label))], 3).detach()
        torch.testing.assert_close(ours[mask], classes[mask])
        torch.testing.assert_close(ours[mask].sum(1), torch.ones_like(blank[mask]))
    q, p = (classes[mask] for classes in expected)
    kl = torch.where(p > 0, p * (p / q.clamp(min=1e-30)).log(), 0.0).sum(1)
    torch.testing.assert_close(make_term("three_way")(*outcomes).detach(), kl.mean())
    torch.testing.assert_close(make_term("three_way", reduction="sum")(*outcomes).detach(), kl.sum() / BATCH)
    assert 0 < make_term("three_way")(*outcomes) < make_term("full_kl")(*outcomes)


@pytest.mark.parametrize("weighting", ["teacher", "student", "both"])
@pytest.mark.parametrize("ranges", [None, RANGES], ids=["full", "pruned"])
def test_weighted_three_way_is_the_expected_kl_of_a_path(
    make_side: MakeSide, weighting: str, ranges: Tensor | None
) -> None:
    """Cell by cell, the occupation being the derivative of the log-likelihood by the two numbers of a cell."""
    student, teacher = make_side(1), make_side(2)
    outcomes = student.outcome(ranges), teacher.outcome(ranges)
    cells = three_way(outcomes[0].lattice(), outcomes[1].lattice())

    def visited(lattice: Lattice) -> Tensor:
        blank, label = (x.detach().clone().requires_grad_() for x in (lattice.blank, lattice.label))
        replace(lattice, blank=blank, label=label).loss("sum", backend="torch").backward()
        assert blank.grad is not None
        assert label.grad is not None
        return -(blank.grad + label.grad)

    of = {"student": visited(outcomes[0].lattice()), "teacher": visited(outcomes[1].lattice())}
    of["both"] = (of["student"] + of["teacher"]) / 2
    expected = (of[weighting] * cells.kl).sum()
    found = [make_term("three_way", weighting=weighting, reduction=one)(*outcomes) for one in ("sum", "mean")]
    for ours, theirs in zip(gradients(found[0], student), gradients(expected / BATCH, student)):
        torch.testing.assert_close(ours, theirs)  # what cells count is held still
    torch.testing.assert_close(found[0], expected / BATCH)
    torch.testing.assert_close(found[1], expected / (LENGTHS.sum() + TARGET_LENGTHS.sum()))


def test_a_symmetric_term_weighs_by_the_same_network_in_both_directions(make_side: MakeSide) -> None:
    student, teacher = make_side(1).outcome(), make_side(2).outcome()
    for weighting, other in (("teacher", "student"), ("student", "teacher"), ("both", "both")):
        whole = make_term("three_way", symmetric=True, weighting=weighting, shift=1)(student, teacher)
        there = make_term("three_way", weighting=weighting, shift=1)(student, teacher)
        back = make_term("three_way", weighting=other, shift=-1)(teacher, student)
        torch.testing.assert_close(whole, there + back)


def test_frames_beyond_an_utterance_do_not_count(make_side: MakeSide) -> None:
    student, teacher = make_side(1, True), make_side(2, True)
    names = ("encoder_logits", "hidden", "heads", "full_kl")
    before = [make_term(name)(student.outcome(), teacher.outcome()) for name in names]
    for tensor in (student.frames, *student.layers):
        tensor.data[1, LENGTHS[1] :] = 1e6
    after = [make_term(name)(student.outcome(), teacher.outcome()) for name in names]
    for one, other in zip(before, after):
        torch.testing.assert_close(one, other)


def test_layers_that_do_not_match_are_named(make_side: MakeSide) -> None:
    student, teacher = make_side(1), make_side(2)
    teacher.layers = teacher.layers[:1]
    with pytest.raises(InputError, match="the student has 2 layers, the teacher 1"):
        make_term("hidden")(student.outcome(), teacher.outcome())
    teacher.layers = [torch.zeros(2, FRAMES, 2 * DIM, dtype=torch.float64)] * 2
    with pytest.raises(InputError, match=r"layer 0 is \(2, 5, 4\) in the student, \(2, 5, 8\) in the teacher"):
        make_term("hidden")(student.outcome(), teacher.outcome())
    student.layers = []
    with pytest.raises(InputError, match="heads: the encoder of the student gives none"):
        make_term("heads")(student.outcome(), teacher.outcome())
    weighted = WeightedTerm(make_term("heads"), "streaming", "teacher", 1.0, 0, 0, key="terms.mine")
    with pytest.raises(InputError, match=r"^terms\.mine: heads: the encoder of the student gives none"):
        weighted(student.outcome(), teacher.outcome())
