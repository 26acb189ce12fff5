"""Relative positions against the definition, written out with loops."""

from __future__ import annotations

import pytest
import torch

from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.attention import attend, position_table, relative_scores, rotate
from dualtk.nn.masks import MASKED, attention_mask, cache_mask, context_mask


@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (1, 5), (4, 4), (3, 7)])
def test_relative_scores_are_those_of_the_offset(num_queries: int, num_keys: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 3, num_queries, 4, dtype=torch.float64, requires_grad=True)
    table = torch.randn(3, num_queries + num_keys - 1, 4, dtype=torch.float64, requires_grad=True)
    scores = relative_scores(query, table)
    assert scores.shape == (2, 3, num_queries, num_keys)
    for i in range(num_queries):
        for j in range(num_keys):
            offset = j - (num_keys - num_queries + i)  # queries are the last of the keys
            expected = (query[:, :, i] * table[:, offset + num_keys - 1]).sum(-1)
            torch.testing.assert_close(scores[:, :, i, j], expected)
    assert torch.autograd.gradcheck(relative_scores, (query, table))


def test_table_rows_are_sinusoids_of_the_offset() -> None:
    table = position_table("relative", 3, 5, 8, torch.empty(0))
    assert table is not None
    assert table.shape == (7, 8)
    torch.testing.assert_close(table[4], torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]))  # offset 0
    torch.testing.assert_close(table[3, 0], torch.tensor(-1.0).sin())
    # A longer cache only adds rows on the left: offsets keep their vectors.
    longer = position_table("relative", 3, 9, 8, torch.empty(0))
    assert longer is not None
    torch.testing.assert_close(longer[-7:], table)


def test_rotated_scores_depend_on_the_offset_only() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    table = position_table("rotary", 20, 20, 8, query)
    assert table is not None
    queries, keys = rotate(query.expand(1, 1, 20, 8), table)[0, 0], rotate(key.expand(1, 1, 20, 8), table)[0, 0]
    scores = queries @ keys.T
    for offset in range(-19, 20):
        diagonal = scores.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(queries.norm(dim=1), query[0, 0].norm(dim=1).expand(20))


def test_a_bias_is_scaled_with_the_scores() -> None:
    query, key, value, bias = (torch.randn(2, 2, 5, size) for size in (4, 4, 4, 5))
    mask = torch.zeros(1, 1, 5, 5).masked_fill(torch.rand(5, 5) > 0.7, MASKED)
    fused = attend(query, key, value, mask + bias / 2.0)
    torch.testing.assert_close(attend(query, key, value, mask, bias), fused)


@pytest.mark.parametrize(
    "mode", [FULL_CONTEXT, streaming(), streaming(2), streaming(0, 3), streaming(3, 4)], ids=lambda mode: str(mode)
)
def test_context_is_the_chunk_and_what_lies_left_of_it(mode: Mode) -> None:
    visible = context_mask(10, mode, torch.device("cpu"))
    for row in range(10):
        start = row // mode.chunk * mode.chunk
        first = 0 if mode.left_context is None else max(start - mode.left_context, 0)
        for column in range(10):
            expected = mode.full_context or first <= column < start + mode.chunk
            assert bool(visible[row, column]) == expected


def test_masked_keys_have_no_weight_at_all() -> None:
    mask = attention_mask(torch.tensor([3, 5]), 5, FULL_CONTEXT)
    weights = torch.softmax(mask + torch.randn(2, 1, 5, 5), dim=-1)
    assert (weights[0, :, :, 3:] == 0).all()
    assert (weights[1] > 0).all()


def test_cache_mask_hides_what_was_never_written() -> None:
    mask = cache_mask(torch.tensor([[0.0], [2.0], [4.0]]), 4, 2)
    assert mask.shape == (3, 1, 1, 6)
    visible = (mask == 0).squeeze()
    assert visible.tolist() == [[False] * 4 + [True] * 2, [False] * 2 + [True] * 4, [True] * 6]
