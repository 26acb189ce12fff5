"""Attention maps of a layer's heads (Kojima 2021, Figure 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from dualtk.analysis.picture import Picture, Table, grid, heat_map, label_axes

FAINTEST = 1e-2
COLUMNS = 2


def attention_maps(systems: Mapping[str, Tensor], layer: int, name: str = "attention") -> Picture:
    """Where each frame of an utterance looks, one panel a head, system by system.

    Args:
        systems: attention weights (H, T', T') of the layer: head, query, key.
        layer: its number from 1, for the title.
        name: file name of the picture.
    """
    lines = [
        (system, head, weights[head].float().numpy())
        for system, weights in systems.items()
        for head in range(len(weights))
    ]
    figure, panels = grid(-(-len(lines) // COLUMNS), COLUMNS)
    rows: list[list[object]] = []
    for axes in panels[len(lines) :]:
        axes.set_axis_off()
    for axes, (system, head, weights) in zip(panels, lines):
        scaled = weights / max(float(weights.max()), 1e-9)
        heat_map(axes, scaled, (0.0, weights.shape[1], weights.shape[0], 0.0), from_top=True)
        label_axes(axes, "key frame", "query frame", f"{system}, head {head + 1}")
        for query, key in np.argwhere(weights > FAINTEST).tolist():
            rows.append([system, head + 1, query, key, float(weights[query, key])])
    caption = f"Self-attention of layer {layer}: rows attend to columns; right of the diagonal is the future."
    table = Table(["system", "head", "query", "key", "weight"], rows)
    return Picture(name, f"Attention of layer {layer}", caption, figure, table)
