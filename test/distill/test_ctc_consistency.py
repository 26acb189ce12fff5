"""The consistency of CTC heads: its value loop by loop, its gradient by finite differences, and what it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny import CONFIG, TINY
from torch import Tensor
from torch.nn import functional

from dualtk.distill.ctc_consistency import CTCConsistency
from dualtk.distill.teacher import FrozenTeacher
from dualtk.distill.terms import Outcome
from dualtk.encoders.base import EncoderOutput
from dualtk.errors import InputError
from dualtk.modes import FULL_CONTEXT
from dualtk.objective import Objective
from dualtk.system import TransducerSystem, load
from dualtk.transducer.ctc import CTCHead
from dualtk.transducer.joiner import TanhJoiner
from dualtk.transducer.model import Pass
from dualtk.transducer.predicted import Predicted

BATCH, FRAMES, DIM, VOCABULARY = 2, 5, 4, 6
LENGTHS = torch.tensor([5, 3])
TERM = "terms={ctc_consistency: {student: streaming, teacher: full, weight: 0.5, reduction: sum}}"


@dataclass
class Side:
    """A pass whose encoder is free numbers, with a head of its own."""

    frames: Tensor
    head: CTCHead

    def outcome(self) -> Outcome:
        joiner = TanhJoiner(DIM, DIM, 3, VOCABULARY).double()
        run = Pass(EncoderOutput(self.frames, LENGTHS), Predicted(self.frames), joiner, self.head)
        return Outcome(run, lambda: pytest.fail("no lattice is needed"))

    def inputs(self) -> list[Tensor]:
        return [self.frames, *self.head.parameters()]


def make_side(seed: int, vocabulary: int = VOCABULARY) -> Side:
    torch.manual_seed(seed)
    frames = torch.randn(BATCH, FRAMES, DIM, dtype=torch.float64, requires_grad=True)
    return Side(frames, CTCHead(DIM, vocabulary).double())


def term(shift: int = 0, symmetric: bool = False, reduction: str = "mean") -> CTCConsistency:
    return CTCConsistency(shift=shift, symmetric=symmetric, reduction=reduction)  # type: ignore[arg-type]


def pairs(shift: int) -> list[tuple[int, int, int]]:
    """(utterance, frame of the student, frame of the teacher) of all that is compared."""
    return [(b, t, t - shift) for b in range(BATCH) for t in range(int(LENGTHS[b])) if 0 <= t - shift < int(LENGTHS[b])]


def by_loops(student: Side, teacher: Side, shift: int) -> float:
    """Sum of KL(teacher || student) over the pairs."""
    q, p = (functional.linear(one.frames, *one.head.parameters()).softmax(2).detach() for one in (student, teacher))
    return sum(
        float(p[b, there, v] * math.log(p[b, there, v] / q[b, here, v]))
        for b, here, there in pairs(shift)
        for v in range(VOCABULARY)
    )


def gradients(value: Tensor, side: Side) -> list[Tensor]:
    found = torch.autograd.grad(value, side.inputs(), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(side.inputs(), found)]


@pytest.mark.parametrize("shift", [0, 1, -2, 4, -5, 9])
def test_the_value_is_the_papers_loop_by_loop(shift: int) -> None:
    student, teacher = make_side(1), make_side(2)
    outcomes = student.outcome(), teacher.outcome()
    expected = by_loops(student, teacher, shift)
    assert term(shift, reduction="sum")(*outcomes).item() == pytest.approx(expected / BATCH)
    assert term(shift)(*outcomes).item() == pytest.approx(expected / max(len(pairs(shift)), 1))
    both = expected + by_loops(teacher, student, -shift)
    assert term(shift, symmetric=True, reduction="sum")(*outcomes).item() == pytest.approx(both / BATCH)


@pytest.mark.parametrize("shift", [0, 1, -1])
def test_the_gradient_of_the_student_is_that_of_finite_differences(shift: int) -> None:
    student, teacher = make_side(1), make_side(2)
    held = teacher.outcome()

    def value(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with torch.no_grad():
            for own, new in zip(student.inputs(), (frames, weight, bias)):
                own.copy_(new)
        return term(shift)(student.outcome(), held).detach()

    found = gradients(term(shift)(student.outcome(), teacher.outcome()), student)
    kept = [one.detach().clone() for one in student.inputs()]
    for place, gradient in enumerate(found):
        for index in range(gradient.numel()):
            ends = []
            for sign in (1, -1):
                moved = [one.clone() for one in kept]
                moved[place].view(-1)[index] += sign * 1e-6
                ends.append(value(*moved).item())
            assert gradient.view(-1)[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_no_gradient_reaches_a_teacher_that_is_held_still() -> None:
    student, teacher = make_side(1), make_side(2)
    value = term()(student.outcome(), teacher.outcome())
    assert all(grad.abs().sum() == 0 for grad in gradients(value, teacher))
    assert all(grad.abs().sum() > 0 for grad in gradients(value, student))


def test_each_half_of_a_symmetric_term_holds_the_other_still() -> None:
    student, teacher = make_side(1), make_side(2)
    both = term(1, symmetric=True)(student.outcome(), teacher.outcome())
    there, back = term(1)(student.outcome(), teacher.outcome()), term(-1)(teacher.outcome(), student.outcome())
    torch.testing.assert_close(both, there + back)
    for side, alone in ((student, there), (teacher, back)):
        for own, expected in zip(gradients(both, side), gradients(alone, side)):
            torch.testing.assert_close(own, expected)


def test_equal_passes_are_at_no_distance_and_padding_does_not_count() -> None:
    student, teacher = make_side(1), make_side(2)
    assert term()(student.outcome(), student.outcome()).item() == pytest.approx(0.0, abs=1e-12)
    before = [term(shift)(student.outcome(), teacher.outcome()) for shift in (0, 2, -2)]
    student.frames.data[1, LENGTHS[1] :] = 1e3
    teacher.frames.data[1, LENGTHS[1] :] = -1e3
    assert before == [term(shift)(student.outcome(), teacher.outcome()) for shift in (0, 2, -2)]


def test_heads_that_cannot_be_compared_are_named() -> None:
    student = make_side(1)
    with pytest.raises(InputError, match=r"ctc_consistency: student \(2, 5, 6\), teacher \(2, 5, 7\)"):
        term()(student.outcome(), make_side(2, VOCABULARY + 1).outcome())
    student.head = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="the network has no CTC head"):
        term()(student.outcome(), make_side(2).outcome())


# In a system.


def load_system(*overrides: str) -> TransducerSystem:
    system = load(CONFIG, overrides=[*TINY, "augment=null", *overrides])
    assert isinstance(system, TransducerSystem)
    return system


def make(*overrides: str, frozen: FrozenTeacher | None = None) -> Objective:
    system = load_system(*overrides)
    torch.manual_seed(0)
    return system.build_objective(system.build_network(VOCABULARY, torch.zeros(16), torch.ones(16)), frozen)


def loss_of(objective: Objective, step: int = 0):
    generator = torch.Generator().manual_seed(1)
    feats = torch.randn(3, 48, 16, generator=generator)
    targets = torch.randint(1, VOCABULARY, (3, 4), generator=generator)
    torch.manual_seed(2)
    return objective(feats, torch.tensor([48, 40, 30]), targets, torch.tensor([4, 3, 2]), step)


def test_modes_that_agree_in_place() -> None:
    without, beside = loss_of(make("ctc={}")), loss_of(make("ctc={}", TERM))
    assert beside.parts.keys() - without.parts.keys() == {"streaming/ctc_consistency"}
    value = beside.parts["streaming/ctc_consistency"]
    assert value > 0
    torch.testing.assert_close(beside.total, without.total + 0.5 * value)


def frozen_teacher(*overrides: str) -> FrozenTeacher:
    torch.manual_seed(7)
    network = load_system(*overrides).build_network(VOCABULARY, torch.zeros(16), torch.ones(16))
    return FrozenTeacher(network, FULL_CONTEXT, torch.zeros(16), torch.ones(16))


def test_a_frozen_teacher_needs_a_head_of_its_own(tmp_path: Path) -> None:
    frozen = f"teacher={{name: frozen, exp: {tmp_path}, mode: full}}"
    term = "terms={ctc_consistency: {student: streaming, teacher: teacher}}"
    objective = make("ctc={}", frozen, term, frozen=frozen_teacher("ctc={}"))
    loss = loss_of(objective)
    assert loss.parts["streaming/ctc_consistency"] > 0
    assert "teacher/ctc" not in loss.parts
    loss.total.backward()
    assert objective.teacher is not None
    assert all(one.grad is None for one in objective.teacher.network.parameters())
    with pytest.raises(InputError, match=r"terms.ctc_consistency: .*the teacher was trained without a section `ctc`"):
        make("ctc={}", frozen, term, frozen=frozen_teacher())
    with pytest.raises(InputError, match="symmetric: a frozen teacher does not learn"):
        load_system("ctc={}", frozen, term, "terms.ctc_consistency.symmetric=true")


def test_the_term_needs_the_section() -> None:
    with pytest.raises(InputError, match=r"terms\.ctc_consistency: .* and there is no section `ctc`"):
        load_system(TERM)
