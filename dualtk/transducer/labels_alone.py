"""What the losses are before the audio says anything: those of the best network that knows labels and lengths only.

Until a network knows which frames belong to which labels, training takes its losses to about these two numbers and
leaves them there, so that they say of a validation whether there is anything to decode.

Axes: B batch, T frames, U labels, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dualtk.transducer.ctc import BLANK, CTCLoss

BATCH = 64  # utterances whose lattices are in memory together
ROUNDS = 30  # at most, of expectation and maximisation; a handful is enough
SAMPLE = 256  # utterances that stand for all of a validation set
# Shares of the losses from labels alone, above which nothing has been aligned. A CTC head reaches 1 and stays there
# until it has; a predictor that knows its language takes the transducer loss to 0.75 by itself (32 tokens, English).
CTC_SHARE = 0.9
TRANSDUCER_SHARE = 0.7


@dataclass(frozen=True)
class LabelsAlone:
    """Mean losses of utterances under the best network whose output is the same in every frame.

    Attributes:
        entropy: of a label, in nats: what one costs that is predicted by its frequency.
        transducer: the transducer loss, of a predictor that knows frequencies only. A training loss that stays about it
            is that of a network that has not aligned; one below it may still be that of a predictor that knows the
            language.
        ctc: the CTC loss. A head has no language to lean on: one that stays about this value has not aligned.
    """

    entropy: float
    transducer: float
    ctc: float

    def warnings(self, values: Mapping[str, float], modes: Sequence[str], step: int) -> list[str]:
        """A line for each of `modes` whose losses among `values` of a validation say that it has not aligned."""
        lines = []
        for mode in modes:
            name, key, alone, share = "CTC", f"{mode}/ctc", self.ctc, CTC_SHARE
            if key not in values:
                name, key, alone, share = "transducer", f"{mode}/rnnt", self.transducer, TRANSDUCER_SHARE
            if values.get(key, 0.0) > share * alone:
                lines.append(
                    f"step {step}: {mode}: not aligned yet: {name} loss {values[key]:.4g}, labels without audio give "
                    f"{alone:.4g}"
                )
        return lines


def labels_alone(targets: Sequence[Sequence[int]], num_frames: Sequence[int], vocab_size: int) -> LabelsAlone:
    """The losses from labels alone, means over utterances as a validation gives them.

    The CTC loss of a large set is that of `SAMPLE` of its utterances, from shortest to longest, for as many labels.

    Args:
        targets: labels of each utterance, at least one in all.
        num_frames: encoder frames of each utterance.
        vocab_size: tokens with blank.
    """
    labels = torch.tensor([token for one in targets for token in one])
    shares = torch.bincount(labels, minlength=vocab_size).double() / len(labels)
    entropy = float(torch.special.entr(shares).sum())
    blank = sum(num_frames) / (sum(num_frames) + len(labels))  # of the steps through all lattices
    transducer = len(labels) * (entropy - math.log1p(-blank)) - sum(num_frames) * math.log(blank)
    transducer -= sum(_log_paths(frames, len(one)) for frames, one in zip(num_frames, targets))
    order = sorted(range(len(targets)), key=lambda index: num_frames[index])
    sample = order[:: -(-len(order) // SAMPLE)]
    ctc = _ctc([targets[index] for index in sample], [num_frames[index] for index in sample], shares)
    ctc *= len(labels) / max(1, sum(len(targets[index]) for index in sample))
    return LabelsAlone(entropy, transducer / len(targets), ctc / len(targets))


def _log_paths(num_frames: int, num_labels: int) -> float:
    """log of the number of paths through a lattice: the last step is a blank, the order of all others is free."""
    return math.lgamma(num_frames + num_labels) - math.lgamma(num_labels + 1) - math.lgamma(num_frames)


def _ctc(targets: Sequence[Sequence[int]], num_frames: Sequence[int], shares: Tensor) -> float:
    """Sum of CTC losses under the best distribution (V,) over classes that is the same in every frame.

    It is approached by expectation-maximisation, which begins with the `shares` (V,) of labels.
    """
    blank = max(1.0 - int(sum(map(len, targets))) / sum(num_frames), 0.5)
    classes = (1.0 - blank) * shares
    classes[BLANK] = blank
    before = math.inf
    for _ in range(ROUNDS):
        total, gradient = _constant(targets, num_frames, classes.clamp(min=1e-30).log())
        if total > before * (1.0 - 1e-4):
            break
        before = total
        # With respect to logits that all frames share, the gradient is expected frames minus occupied frames.
        occupied = (sum(num_frames) * classes - gradient).clamp(min=0.0)
        classes = occupied / occupied.sum()
    return min(total, before)


def _constant(targets: Sequence[Sequence[int]], num_frames: Sequence[int], logits: Tensor) -> tuple[float, Tensor]:
    """Sum of CTC losses where every frame has the same logits (V,), and its gradient (V,)."""
    loss = CTCLoss(weight=1.0, final_weight=None, decay_steps=0)
    logits.requires_grad_()
    total = 0.0
    for start in range(0, len(targets), BATCH):
        labels = [torch.tensor(one, dtype=torch.int64) for one in targets[start : start + BATCH]]
        lengths = torch.tensor(num_frames[start : start + BATCH])
        log_probs = logits.log_softmax(0).expand(len(labels), int(lengths.max()), -1)
        counts = torch.tensor([len(one) for one in labels])
        value = loss(log_probs, lengths, pad_sequence(labels, batch_first=True), counts).sum()
        value.backward()  # type: ignore[no-untyped-call]
        total += float(value.detach())
    assert logits.grad is not None
    return total, logits.grad
