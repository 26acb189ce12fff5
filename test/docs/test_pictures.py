"""docs/ideas.md: its pictures are those of their script, which draws what the layers do, and its numbers are right."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from documents import ROOT, blocks, read
from torch import Tensor

from dualtk.modes import FULL_CONTEXT, Mode, streaming
from dualtk.nn.dual import DualConv1d, DualNorm, DualPool
from dualtk.nn.masks import context_mask

DRAWN = runpy.run_path(str(ROOT / "tools/pictures.py"))
PAGE = ROOT / "docs/ideas.md"
BLANK, LABEL = DRAWN["BLANK"], DRAWN["LABEL"]
MODES = {DRAWN["FULL"]: FULL_CONTEXT, DRAWN["STREAMING"]: streaming(DRAWN["LEFT"], DRAWN["CHUNK"])}


def test_the_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/pictures.py", tmp_path], check=True, capture_output=True)
    for name in ("lattice.svg", "modes.svg"):
        assert (tmp_path / name).read_bytes() == (ROOT / "docs/images" / name).read_bytes()


def by_hand() -> dict[tuple[int, ...], float]:
    """The probability of each way through the lattice: frames in which the labels are said."""
    found = {}
    for frames in itertools.combinations_with_replacement(range(len(BLANK)), len(LABEL[0])):
        probability, said = 1.0, 0
        for t in range(len(BLANK)):
            while said < len(frames) and frames[said] == t:
                probability *= LABEL[t][said]
                said += 1
            probability *= BLANK[t][said]
        found[frames] = probability
    return found


def test_the_sums_of_the_picture_are_those_over_all_ways() -> None:
    ways, sums = by_hand(), DRAWN["sums"]()
    assert len(ways) == 6
    total = sum(ways.values())
    assert sums.forward[-1][-1] * BLANK[-1][-1] == pytest.approx(total)
    assert (f"{total:.4f}", f"{-math.log(total):.4f}") == ("0.4474", "0.8044")
    for t in range(len(BLANK)):
        for u in range(len(LABEL[0])):
            share = sum(p for frames, p in ways.items() if frames[u] == t) / total
            assert sums.label[t][u] == pytest.approx(share)


def test_the_code_of_the_page_prints_what_stands_below_it() -> None:
    code, printed = (block for block in blocks(read(PAGE)) if block.language in ("python", "text"))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code.text, {})
    assert output.getvalue() == printed.text


def inputs(layer: str, mode: Mode) -> Tensor:
    """(T,) bool: which of 8 input frames the output frame that is drawn depends on."""
    torch.manual_seed(0)
    x = torch.randn(1, DRAWN["FRAMES"], 4, requires_grad=True)
    everywhere = torch.ones(1, DRAWN["FRAMES"], dtype=torch.bool)
    if layer == "convolution":
        output = DualConv1d(4, DRAWN["KERNEL"])(x, mode)
    elif layer == "average pooling":
        output = DualPool()(x, everywhere, mode).expand(x.shape)
    elif layer == "norm":
        output = DualNorm("layer", 4, ["full", "streaming"])(x, mode) * torch.randn(4)
    else:
        return context_mask(DRAWN["FRAMES"], mode, x.device)[DRAWN["LOOKED_AT"]]
    (gradient,) = torch.autograd.grad(output[0, DRAWN["LOOKED_AT"]].square().sum(), x)
    return gradient[0].abs().sum(1) > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layer", DRAWN["SEEN"])
def test_what_is_drawn_is_what_a_layer_sees(layer: str, mode: str) -> None:
    assert torch.nonzero(inputs(layer, MODES[mode])).flatten().tolist() == list(DRAWN["SEEN"][layer][mode])
