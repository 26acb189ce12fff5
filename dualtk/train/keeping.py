"""The networks that a run keeps: the best by validation, and their average, which decoding uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dualtk.train.checkpoint import average, load_network, save_network


class KeptNetwork:
    """One network of a run: a candidate for every kept step, and the average of the candidates.

    Args:
        network: which.
        candidates: folder of the candidates, `step-N.safetensors`.
        averaged: file of the average.
    """

    def __init__(self, network: nn.Module, candidates: Path, averaged: Path) -> None:
        self.network = network
        self.candidates = candidates
        self.averaged = averaged

    def keep(self, step: int) -> None:
        """Write the network as it is now."""
        save_network(self._candidate(step), self.network.state_dict())

    def average(self, steps: list[int]) -> None:
        """Write the mean of the candidates of `steps`."""
        save_network(self.averaged, average([self._candidate(step) for step in steps]))

    def load(self) -> None:
        """Take on the average."""
        load_network(self.averaged, self.network)

    def drop_others(self, steps: list[int]) -> None:
        """Remove the candidates that are not of `steps`."""
        kept = {self._candidate(step) for step in steps}
        for path in set(self.candidates.glob("step-*.safetensors")) - kept:
            path.unlink(missing_ok=True)

    def _candidate(self, step: int) -> Path:
        return self.candidates / f"step-{step}.safetensors"


class BestNetworks:
    """Keeps the best steps of a run; the student and a teacher that learns beside it are kept and averaged alike.

    Args:
        networks: by the file that the average goes to; candidates lie in `checkpoints` beside it.
        count: steps kept.
        writes: whether this process writes (rank 0).
    """

    def __init__(self, networks: Mapping[Path, nn.Module], count: int, writes: bool) -> None:
        self.networks = [KeptNetwork(one, path.parent / "checkpoints", path) for path, one in networks.items()]
        self.count = count
        self.writes = writes

    def offer(self, loss: float, step: int, best: list[tuple[float, int]]) -> list[tuple[float, int]]:
        """`best` (loss, step; the lowest first) with this step while it is among the best; the average follows.

        A loss that is not finite is never among them: it has no place in an order.
        """
        if not math.isfinite(loss):
            return best
        renewed = sorted([*best, (loss, step)])[: self.count]
        if not self.writes or (loss, step) not in renewed:
            return renewed
        for network in self.networks:
            network.keep(step)
            network.average([kept for _, kept in renewed])
        return renewed

    def fault(self) -> str | None:
        """The first tensor of a network that is not finite, by its name."""
        for one in self.networks:
            for key, value in one.network.state_dict().items():
                if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                    return key
        return None

    def load(self) -> None:
        """Let every network be its average, as it was last written."""
        for network in self.networks:
            network.load()

    def keep_alone(self, step: int) -> None:
        """Put the networks of `step` alone in the place of the averages."""
        if self.writes:
            for network in self.networks:
                network.average([step])

    def tidy(self, best: list[tuple[float, int]]) -> None:
        """Remove what is no longer among the best, once the training state says so too: until then, a run that is
        killed goes back to a state that may still name it."""
        if self.writes:
            for network in self.networks:
                network.drop_others([step for _, step in best])
