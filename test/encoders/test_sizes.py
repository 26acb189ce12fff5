"""Every shipped size against the published number, and what a second mode costs."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blocks import make_encoder

TOOL = Path(__file__).resolve().parents[2] / "tools/sizes.py"
spec = importlib.util.spec_from_file_location("sizes", TOOL)
assert spec is not None
assert spec.loader is not None
sizes = sys.modules["sizes"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sizes)


# ContextNet's paper has one layer; what else its published size counts it does not say, and a second layer is as large.
SECOND_LAYER = {"dual_contextnet": ("model.predictor.num_layers=2",)}


@pytest.mark.parametrize("size", sizes.SIZES, ids=lambda size: size.what)
def test_size_is_the_published_one(size) -> None:
    whole = replace(size, changes=(*size.changes, *SECOND_LAYER.get(size.method, ())))
    assert sizes.count(whole) == pytest.approx(size.millions, rel=0.03)


@pytest.mark.parametrize("size", sizes.SIZES, ids=lambda size: size.what)
def test_a_second_mode_costs_less_than_two_percent(size) -> None:
    assert 1.0 < sizes.count(size, sizes.DUAL) / sizes.count(size, sizes.STREAMING) < 1.02


def test_only_the_dual_kernel_and_the_norms_are_added() -> None:
    """Per convolution and mode a batch norm, and (k - 1)/2 taps that a causal convolution would not have."""
    with torch.device("meta"):
        encoder = make_encoder("contextnet", 80)
    overhead = sum(p.numel() for name, p in encoder.named_parameters() if ".full." in name)
    taps = sum(p.numel() for name, p in encoder.named_parameters() if name.endswith("depthwise.weight"))
    total = sum(p.numel() for p in encoder.parameters())
    assert overhead / total < 0.005
    assert taps / total < 0.012
