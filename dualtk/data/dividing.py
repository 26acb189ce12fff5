"""Which utterances of a data directory go where: subsets, and splits in which no speaker is on both sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dualtk.errors import InputError


def draw_hours(seconds: Mapping[str, float], hours: float, seed: int) -> list[str]:
    """Utterances drawn at random, as many as fit into so many hours.

    Args:
        seconds: of every utterance.
        hours: that they last together at most.
        seed: of the draw.

    Raises:
        InputError: not one fits.
    """
    names = sorted(seconds)
    order = np.random.default_rng(seed).permutation(len(names))
    total = np.cumsum([seconds[names[index]] for index in order])
    chosen = [names[index] for index, after in zip(order, total) if after <= 3600 * hours]
    if not chosen:
        raise InputError(f"--hours {hours:g}: not one utterance is so short")
    return chosen


def split_speakers(
    seconds: Mapping[str, float], speakers: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Utterances of each part, all of a speaker in the same one; parts are about as large as their shares.

    Speakers, in an order that `seed` draws, go to the part that lacks most.

    Args:
        seconds: of every utterance.
        speakers: of every utterance.
        shares: of the whole, by the name of the part; any positive numbers.
        seed: of the draw.

    Raises:
        InputError: fewer speakers than parts.
    """
    lengths: dict[str, float] = {}
    for name in sorted(seconds):
        lengths[speakers[name]] = lengths.get(speakers[name], 0.0) + seconds[name]
    if len(lengths) < len(shares):
        raise InputError(f"{len(lengths)} speakers cannot be split into {len(shares)} parts without overlap")
    names = sorted(lengths)
    drawn = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    lacking = {part: share / sum(shares.values()) * sum(lengths.values()) for part, share in shares.items()}
    part_of: dict[str, str] = {}
    for place, speaker in enumerate(drawn):
        empty = [part for part in shares if part not in part_of.values()]
        waiting = empty if len(empty) == len(drawn) - place else list(shares)
        part_of[speaker] = max(waiting, key=lambda part: lacking[part])
        lacking[part_of[speaker]] -= lengths[speaker]
    return {part: [name for name in sorted(seconds) if part_of[speakers[name]] == part] for part in shares}
