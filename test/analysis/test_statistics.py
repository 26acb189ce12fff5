"""Entropies, similar wordpieces, distances and t-SNE against other implementations or by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from dualtk.analysis.entropy import entropies, entropy_densities
from dualtk.analysis.layers import LayerDistance, distance_picture, layer_distances
from dualtk.analysis.similar import similar_picture, similar_wordpieces
from dualtk.analysis.tsne import embed, tsne_picture
from dualtk.errors import InputError


def test_entropies_agree_with_torch_s() -> None:
    logits = torch.randn(3, 4, 9, dtype=torch.float64)
    assert np.allclose(entropies(logits), Categorical(logits=logits).entropy().flatten().numpy())
    assert entropies(torch.zeros(1, 8)) == pytest.approx(math.log(8))
    assert entropies(torch.tensor([[1000.0, 0.0]])) == pytest.approx(0.0)


def test_density_integrates_to_one() -> None:
    picture = entropy_densities({"joint": np.array([0.1, 0.2, 1.5]), "none": np.array([])}, "full")
    rows = [row for row in picture.table.rows if row[0] == "joint"]
    width = float(str(rows[1][1])) - float(str(rows[0][1]))
    assert sum(float(str(row[2])) for row in rows) * width == pytest.approx(1.0)


def test_similar_wordpieces_by_hand() -> None:
    pieces = ["<blk>", "<unk>", "a", "b", "c"]
    logits = torch.log(torch.tensor([[0.5, 0.1, 0.2, 0.1, 0.1], [0.5, 0.1, 0.1, 0.2, 0.1], [0.5, 0.0, 0.1, 0.1, 0.3]]))
    found = similar_wordpieces(logits, torch.tensor([2, 2, 4]), pieces, top=2)
    assert [(one.piece, one.times) for one in found] == [("a", 2), ("c", 1)]
    piece, probability = found[0].others[0]  # blank aside, b has 0.2 and 0.4
    assert (piece, probability) == ("b", pytest.approx(0.3))
    assert "c" not in [piece for piece, _ in found[1].others]
    assert similar_picture(found, "full").table.rows[0][:3] == ["a", 2, "b"]


def test_layer_distances_by_hand() -> None:
    first, second = [torch.zeros(2, 2)], [torch.tensor([[3.0, 4.0], [0.0, 1.0]])]
    assert layer_distances(first, second) == [LayerDistance(3.0, 2.0)]
    assert distance_picture({"x": layer_distances(first, second)}).table.rows == [["x", 1, 3.0, 2.0]]
    with pytest.raises(ValueError, match="shorter"):
        layer_distances(first, [])


def test_tsne_keeps_clusters_apart() -> None:
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)
    vectors = np.concatenate([generator.normal(center, 0.1, (20, 8)) for center in (0.0, 5.0)])
    points = embed(vectors)
    assert np.array_equal(points, embed(vectors))
    centres = points[:20].mean(0), points[20:].mean(0)
    spread = max(points[:20].std(), points[20:].std())
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    picture = tsne_picture({"a": torch.randn(10, 4), "b": torch.randn(12, 4)}, 3)
    assert len(picture.table.rows) == 22


def test_tsne_of_too_little() -> None:
    with pytest.raises(InputError, match="at least 4 frames"):
        tsne_picture({"a": torch.randn(2, 4)}, 1)
