"""How far two models' hidden vectors are apart, layer by layer (Kojima 2021, Table 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualtk.analysis.picture import Picture, Table, canvas, decorate


@dataclass(frozen=True)
class LayerDistance:
    """Mean and standard deviation over frames of the L2 distance of a layer's hidden vectors."""

    mean: float
    deviation: float


def layer_distances(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[LayerDistance]:
    """Distances of hidden vectors, per layer (N, D) in both models, over all N frames of one or many utterances."""
    distances = []
    for one, other in zip(first, second, strict=True):
        norms = torch.linalg.vector_norm(one.double() - other.double(), dim=-1)
        distances.append(LayerDistance(float(norms.mean()), float(norms.std(correction=0))))
    return distances


def distance_picture(pairs: Mapping[str, Sequence[LayerDistance]], name: str = "layer-distances") -> Picture:
    """One line a pair of models: mean distance by layer, with one standard deviation."""
    figure, (axes,) = canvas()
    rows: list[list[object]] = []
    for pair, distances in pairs.items():
        layers = list(range(1, len(distances) + 1))
        means, deviations = [each.mean for each in distances], [each.deviation for each in distances]
        axes.errorbar(layers, means, yerr=deviations, marker="o", markersize=4, capsize=3, linewidth=1.0, label=pair)
        rows += [[pair, layer, each.mean, each.deviation] for layer, each in zip(layers, distances)]
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({int(str(row[1])) for row in rows}))
    decorate(axes, "layer", "L2 distance", legend=bool(rows))
    table = Table(["pair", "layer", "mean", "standard_deviation"], rows)
    caption = "L2 distance of hidden vectors at the same frame of the same utterances: mean and standard deviation."
    return Picture(name, "Distance of hidden vectors", caption, figure, table)
