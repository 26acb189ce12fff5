"""When two models emit the tokens of the same utterance (Kojima 2021, Figure 2), below its log-mel features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from dualtk.analysis.picture import COLOURS, INK, Picture, Table, canvas, decorate, heat_map
from dualtk.frames import FRAME_SECONDS
from dualtk.pieces import WORD_START


def alignment_picture(
    systems: Mapping[str, Sequence[float]], tokens: Sequence[str], feats: NDArray[np.float32], name: str = "alignment"
) -> Picture:
    """Features above, and for each system a row of tokens at the times of their emission.

    Args:
        systems: seconds at which each token is emitted, by name of system.
        tokens: (U,) wordpieces of the utterance.
        feats: (T, F) log-mel features at 10 ms.
        name: file name of the picture.
    """
    figure, panels = canvas(1 + len(systems), width=7.2, height=1.2, share_x=True)
    duration = len(feats) * FRAME_SECONDS
    low, high = np.percentile(feats, [5, 99])
    loudness = np.clip((feats.T - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    heat_map(panels[0], loudness, (0.0, duration, 0.0, float(feats.shape[1])))
    decorate(panels[0], "", "mel bin")
    rows: list[list[object]] = []
    for index, (axes, (system, times)) in enumerate(zip(panels[1:], systems.items())):
        axes.vlines(times, 0.0, 0.3, color=COLOURS[index % len(COLOURS)], linewidth=1.0)
        rows += [[system, token, float(time)] for token, time in zip(tokens, times)]
        for time, group in groupby(zip(times, tokens), key=itemgetter(0)):
            text = "".join(token for _, token in group).strip(WORD_START)
            axes.text(time, 0.34, text, rotation=60, fontsize=7, ha="left", va="bottom", color=INK)
        axes.set_ylim(0.0, 1.0)
        axes.set_yticks([])
        decorate(axes, "time (s)" if index == len(systems) - 1 else "", "", title=system)
    caption = "Emission of each token in the most probable alignment of each model."
    return Picture(name, "Alignments", caption, figure, Table(["system", "token", "seconds"], rows))
