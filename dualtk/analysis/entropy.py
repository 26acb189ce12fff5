"""How decided each component is: entropy densities of joint, decoder and encoder outputs (CoDERT, Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualtk.analysis.picture import Picture, Table, canvas, decorate

NUM_BINS = 60


def entropies(logits: Tensor) -> NDArray[np.float64]:
    """Entropy in nats of the softmax over the last axis of (..., V), flattened."""
    log_probabilities = torch.log_softmax(logits.double(), dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(-1).flatten().numpy()


def entropy_densities(components: Mapping[str, NDArray[np.float64]], system: str, name: str = "entropy") -> Picture:
    """Density of entropies of one system, one line a component; entropies in nats."""
    figure, (axes,) = canvas()
    present = {component: values for component, values in components.items() if len(values)}
    highest = max((float(values.max()) for values in present.values()), default=1.0)
    edges = np.linspace(0.0, max(highest, 1e-3), NUM_BINS + 1)
    rows: list[list[object]] = []
    for component, values in present.items():
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, label=component, linewidth=1.2)
        rows += [[component, float(edge), float(value)] for edge, value in zip(edges, density)]
    axes.set_yscale("symlog", linthresh=0.1)
    decorate(axes, "entropy (nats)", "density", legend=bool(rows))
    caption = "Entropy of the softmax of each component's output: joint, decoder alone, encoder alone."
    table = Table(["component", "entropy", "density"], rows)
    return Picture(name, f"Entropy of components, {system}", caption, figure, table)
