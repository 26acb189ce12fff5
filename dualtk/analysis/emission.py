"""Emission lattices of several systems on one utterance (Dual-mode ASR, Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dualtk.analysis.picture import INK, Picture, Table, canvas, decorate, heat_map
from dualtk.lattice.lattice import Lattice

FAINTEST = 1e-3  # posteriors below are left out of the table
MOST_TOKENS = 40  # tokens that get a label on the axis


@dataclass(frozen=True)
class Emission:
    """When a system emits each label of an utterance.

    Attributes:
        posterior: (T', U) probability that label u is emitted at frame t, over all paths.
        best_path: (U,) the frame in the most probable path.
    """

    posterior: NDArray[np.float32]
    best_path: NDArray[np.int64]


def emission(lattice: Lattice) -> Emission:
    """The emission of a full lattice of one utterance."""
    assert lattice.ranges is None
    num_frames, num_labels = int(lattice.logit_lengths[0]), int(lattice.target_lengths[0])
    posterior = lattice.occupation().label[0, :num_frames, :num_labels]
    return Emission(posterior.float().numpy(), lattice.best_path()[0, :num_labels].numpy())


def emission_lattices(
    systems: Mapping[str, Emission], tokens: Sequence[str], frame_seconds: float, name: str = "emission"
) -> Picture:
    """One panel a system: posteriors over time and tokens, with the best path.

    Args:
        systems: by name; all of the same utterance.
        tokens: (U,) its labels as text.
        frame_seconds: of an encoder output frame.
        name: file name of the picture.
    """
    height = min(6.0, 1.0 + 0.14 * len(tokens))
    figure, panels = canvas(len(systems), height=height, share_x=True)
    rows: list[list[object]] = []
    every = -(-len(tokens) // MOST_TOKENS) if tokens else 1
    for axes, (system, found) in zip(panels, systems.items()):
        num_frames = len(found.posterior)
        heat_map(axes, found.posterior.T, (0.0, num_frames * frame_seconds, -0.5, len(tokens) - 0.5))
        axes.plot(
            (found.best_path + 0.5) * frame_seconds,
            range(len(tokens)),
            color=INK,
            linewidth=0.7,
            marker=".",
            markersize=3,
        )
        axes.set_yticks(range(0, len(tokens), every), list(tokens)[::every], fontsize=7)
        decorate(axes, "time (s)", "", title=system)
        for frame, label in np.argwhere(found.posterior > FAINTEST).tolist():
            on_path = int(found.best_path[label] == frame)
            rows.append([system, label, tokens[label], frame, float(found.posterior[frame, label]), on_path])
    table = Table(["system", "label", "token", "frame", "posterior", "best_path"], rows)
    caption = "Probability over all alignments that a token is emitted at a time; the line is the most probable path."
    return Picture(name, "Emission lattices", caption, figure, table)
