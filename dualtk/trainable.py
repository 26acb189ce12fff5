"""What training asks of an objective, and what a step of it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass
class StepLoss:
    """What one step found.

    Attributes:
        total: scalar to minimise.
        utterance_losses: (B,) weighted losses of all passes, a teacher's too; not finite for one at fault.
        parts: named scalars for the log, detached.
    """

    total: Tensor
    utterance_losses: Tensor
    parts: dict[str, Tensor]


class Trainable(Protocol):
    """A module whose single forward is all that a step computes, whatever passes it has."""

    @property
    def module(self) -> nn.Module:
        """Itself: its parameters and its state."""
        ...

    @property
    def settled_step(self) -> int:
        """The last step that changes the size of the network, -1 where none does: networks of steps up to it are no
        candidates for what is kept."""
        ...

    @property
    def subsampling(self) -> int:
        """Feature frames of one encoder frame: an utterance has at least so many."""
        ...

    def __call__(
        self, feats: Tensor, feat_lengths: Tensor, targets: Tensor, target_lengths: Tensor, step: int
    ) -> StepLoss:
        """Raw feats (B, T, F) and lengths (B,), targets (B, U) and lengths (B,), step -> the step's loss."""
        ...

    def prepare(self, step: int) -> None:
        """Called before step `step` runs, on every process."""
        ...

    def networks(self) -> dict[str, nn.Module]:
        """The networks that are trained and kept, by the sub-folder of the experiment that they go to; "" is itself."""
        ...

    def independent_parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the network that they belong to, each once; the gradients of a part are clipped by themselves,
        so that the size of one network's gradient does not slow another. "" is the network of `networks`'s ""."""
        ...

    def training_state(self) -> dict[str, Tensor]:
        """What a run goes on from, by name."""
        ...

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        ...

    def choice_loss(self, values: Mapping[str, float]) -> float:
        """What checkpoints are chosen by, from the means of a validation; the lowest is the best."""
        ...

    def warnings(self, values: Mapping[str, float], step: int) -> list[str]:
        """What the user should be told of a validation at `step`, a line each."""
        ...
