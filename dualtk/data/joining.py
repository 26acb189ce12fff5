"""Utterances joined with pauses, so that a network learns what comes after a finished sentence. T frames, F features.

Joined are features, stored ones or those that were made from changed audio: the words keep their order, and a pause is
made of frames of the same recordings. Only where two parts meet would the features of joined audio be others, in the
one frame whose window reaches over the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor

from dualtk.frames import FRAMES_PER_SECOND
from dualtk.options import Durations, Probability, Section, Unit

QUIET_SHARE = 0.1  # of the frames of both neighbours: what a pause is made of


class JoiningOptions(Section):
    """Utterances that training reads as one, with pauses between them."""

    start_epoch: Annotated[NonNegativeInt, Unit("epochs")] = 0
    """First epoch in which utterances are joined."""
    probability: Probability = 0.3
    """Of what training reads as an utterance to be several of them."""
    most: Annotated[int, Field(ge=2, le=1000), Unit("utterances")] = 4
    """Most utterances that are joined; how many is drawn from 2 to this. None gets longer than
    `batches.max_utterance_frames` and `batches.max_frames` allow."""
    pause: Durations = (0.2, 1.5)
    """Shortest and longest pause between two of them."""


@dataclass(frozen=True)
class Part:
    """An utterance by its number, at a speed, after `pause` frames of silence."""

    index: int
    speed: float
    pause: int = 0


def join_at_random(
    lengths: np.ndarray,
    speeds: np.ndarray,
    longest: int,
    options: JoiningOptions,
    random: np.random.Generator,
    shard_of: np.ndarray | None = None,
) -> list[tuple[Part, ...]]:
    """Every utterance once, alone or in a group.

    Args:
        lengths: feature frames of each at its speed.
        speeds: of each.
        longest: frames of a group, pauses counted.
        options: how many are joined.
        random: what is drawn from.
        shard_of: the shard of each, where only those of one are joined.
    """
    drawn = random.permutation(len(lengths))
    order = (drawn if shard_of is None else drawn[np.argsort(shard_of[drawn], kind="stable")]).tolist()
    several = random.random(len(order)) < options.probability
    wanted = np.where(several, random.integers(2, options.most + 1, len(order)), 1)
    shortest, most = (round(seconds * FRAMES_PER_SECOND) for seconds in options.pause)
    pauses = random.integers(shortest, most + 1, len(order))
    groups: list[tuple[Part, ...]] = []
    place = 0
    while place < len(order):
        first = order[place]
        group, total, size = [Part(first, float(speeds[first]))], int(lengths[first]), int(wanted[place])
        for index, pause in zip(order[place + 1 : place + size], pauses[place + 1 :].tolist()):
            total += pause + int(lengths[index])
            if total > longest or (shard_of is not None and shard_of[index] != shard_of[first]):
                break
            group.append(Part(index, float(speeds[index]), pause))
        groups.append(tuple(group))
        place += len(group)
    return groups


def join_features(parts: Sequence[Tensor], pauses: Sequence[int], level: str, random: np.random.Generator) -> Tensor:
    """Features (T, F) of each part, with `pauses[i]` frames before part i (the first has none) -> those of the whole.

    A frame of a pause is one of the quietest tenth of its neighbours' frames, drawn anew for each, so that the
    background goes on and nothing is repeated that one could recognise.
    """
    joined = [parts[0]]
    for before, after, pause in zip(parts, parts[1:], pauses[1:]):
        frames = torch.cat([before, after])
        loudness = frames.square().mean(1) if level == "samples" else frames.mean(1)
        quiet = loudness.argsort(stable=True)[: max(1, round(QUIET_SHARE * len(frames)))]
        joined += [frames[quiet[torch.from_numpy(random.integers(len(quiet), size=pause))]], after]
    return torch.cat(joined)
