"""Omni-sparsity: one supernet of many sizes, of which a step trains some (Yang et al. 2022).

A size is a mode with a sparsity, and has norms of its own like any mode, as each width of a slimmable network has
(Yu et al. 2019).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dualtk.modes import Mode


def sandwich(modes: Sequence[Mode], seed: int, step: int) -> list[Mode]:
    """The sandwich rule (Yu & Huang 2019): the smallest network, the largest, and one between, drawn from (seed, step).

    Full-context modes always run. The draw is the same on every process and after a resumption.
    """
    sizes = sorted((mode for mode in modes if not mode.full_context), key=lambda mode: mode.sparsity)
    between = sizes[1:-1]
    if len(between) < 2:
        return list(modes)
    drawn = between[random.Random(seed * 1_000_003 + step).randrange(len(between))]
    return [mode for mode in modes if mode not in between or mode == drawn]
