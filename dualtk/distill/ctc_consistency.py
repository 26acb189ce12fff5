"""Consistency of the CTC posteriors of two passes (CR-CTC, Yao et al. 2024, section 3), here of two modes."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dualtk.distill.reduction import Reduction, reduce_valid
from dualtk.distill.terms import Outcome, ShiftedTermOptions
from dualtk.errors import InputError
from dualtk.nn.masks import padding_mask


class CTCConsistency:
    """KL(teacher || student) of the CTC heads, frame by frame; no gradient reaches the teacher.

    The paper compares two differently masked copies of an utterance in one mode; here two modes see the same features.
    It takes half the sum of both directions, beside half the sum of both CTC losses; here each is a whole.

    Args:
        shift: frames by which the teacher is moved later; frames without a partner drop out.
        symmetric: add KL(student || teacher), in which the student is the one that is held still, as in the paper.
        reduction: over frames; "sum" is the paper's.
    """

    name = "ctc_consistency"
    compares_lattices = False

    def __init__(self, *, shift: int, symmetric: bool, reduction: Reduction) -> None:
        self.shift = shift
        self.symmetric = symmetric
        self.reduction: Reduction = reduction

    def __call__(self, student: Outcome, teacher: Outcome) -> Tensor:
        """See `Term`."""
        own, other = student.run.ctc_log_probs, teacher.run.ctc_log_probs
        if own.shape != other.shape:
            raise InputError(f"{self.name}: student {tuple(own.shape)}, teacher {tuple(other.shape)}")
        lengths = student.run.encoded.lengths
        value = self._one_way(own, other, lengths, self.shift)
        if self.symmetric:
            value = value + self._one_way(other, own, lengths, -self.shift)
        return value

    def _one_way(self, learner: Tensor, goal: Tensor, lengths: Tensor, shift: int) -> Tensor:
        """Frame t of the learner (B, T, V) is compared with frame t - shift of the goal (B, T, V)."""
        num_frames = learner.shape[1]
        pairs = max(num_frames - abs(shift), 0)
        learner = learner[:, max(shift, 0) :][:, :pairs]
        goal = goal[:, max(-shift, 0) :][:, :pairs].detach()
        kl = (goal.exp() * (goal - learner)).sum(2)
        # The later frame of a pair is the one that may lie beyond the utterance.
        return reduce_valid(kl, padding_mask(lengths, num_frames)[:, num_frames - pairs :], self.reduction)


class CTCConsistencyOptions(ShiftedTermOptions):
    """Divergence of the CTC posteriors, frame by frame (CR-CTC); needs the section `ctc`.

    The paper's 0.2 beside a CTC loss of weight 1 is `reduction: sum`, `symmetric: true` and as `weight` 0.2 times the
    weights of the CTC loss and of a pass: 0.03 for `ctc.weight` 0.3 and passes of weight 0.5.
    """

    needs_ctc = True

    name: Literal["ctc_consistency"]
    """Which term."""

    def build(self) -> CTCConsistency:
        """The term."""
        return CTCConsistency(**self.arguments())
