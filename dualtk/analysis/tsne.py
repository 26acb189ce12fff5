"""Hidden vectors of a layer for one utterance in two dimensions (Kojima 2021, Figure 5). Needs scikit-learn."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dualtk.analysis.picture import Picture, Table, canvas, decorate
from dualtk.errors import InputError
from dualtk.extras import extra

PERPLEXITY = 30.0


def available() -> bool:
    """Whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def embed(vectors: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """(N, D) to (N, 2) by t-SNE (van der Maaten and Hinton 2008), started from the principal components.

    Raises:
        InputError: scikit-learn is not installed.
    """
    with extra("analysis"):
        manifold = importlib.import_module("sklearn.manifold")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    found = manifold.TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(vectors)
    return np.asarray(found, dtype=np.float64)


def tsne_picture(systems: Mapping[str, Tensor], layer: int, name: str = "tsne") -> Picture:
    """All systems' hidden vectors (T', D) of one layer, embedded together; one colour a system."""
    stacked = np.concatenate([hidden.double().numpy() for hidden in systems.values()])
    if len(stacked) < 4:
        raise InputError(f"t-SNE needs at least 4 frames, the utterance has {len(stacked)} over all systems")
    points = embed(stacked)
    figure, (axes,) = canvas(height=3.6)
    rows: list[list[object]] = []
    first = 0
    for system, hidden in systems.items():
        own = points[first : first + len(hidden)]
        axes.scatter(own[:, 0], own[:, 1], s=9, label=system, alpha=0.8)
        rows += [[system, frame, float(x), float(y)] for frame, (x, y) in enumerate(own)]
        first += len(hidden)
    decorate(axes, "", "", legend=True)
    caption = f"Hidden vectors of layer {layer} over the frames of one utterance, embedded together by t-SNE."
    return Picture(
        name, f"Hidden vectors of layer {layer}", caption, figure, Table(["system", "frame", "x", "y"], rows)
    )
