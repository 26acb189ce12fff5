"""The compact file: nothing is lost, and nothing that a mask removes is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dualtk.errors import InputError
from dualtk.nn.masked import MaskedLinear
from dualtk.pruning.masks import magnitude_masks
from dualtk.pruning.packing import METADATA_KEY, pack, pack_bits, quantize, read_tensors, unpack, unpack_bits
from dualtk.pruning.patterns import parse_pattern
from dualtk.train.checkpoint import save_network

CASES = [("unstructured", 0.7), ("8x1", 0.7), ("3x5", 0.4), ("2:4", 0.5), ("1:4", 0.75), ("4:8", 0.25), ("8x1", 0.0)]


@pytest.mark.parametrize(("text", "sparsity"), CASES)
def test_a_file_gives_back_the_masked_weights(text: str, sparsity: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pattern, layer = parse_pattern(text), MaskedLinear(24, 19)
    mask = magnitude_masks({"layer": layer}, pattern, "layer", sparsity)["layer"]
    tensors = {"layer.weight": layer.weight.detach(), "other": torch.randn(3)}
    packed, metadata = pack(tensors, {"layer.weight": mask}, pattern)
    save_network(tmp_path / "x.safetensors", packed, metadata)
    again = read_tensors(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    assert torch.equal(again["layer.weight"], tensors["layer.weight"] * mask)
    assert torch.equal(again["other"], tensors["other"])
    stored = load_file(tmp_path / "x.safetensors")
    assert stored["layer.weight.kept"].numel() == int(mask.sum())
    assert stored["layer.weight.places"].dtype == torch.uint8


def test_two_of_four_takes_two_bits_for_each_kept_weight_and_blocks_one_for_each_block() -> None:
    layer = MaskedLinear(64, 32)
    for text, sparsity, num_bytes in (("2:4", 0.5, 32 * 32 * 2 // 8), ("8x1", 0.5, 4 * 64 // 8)):
        mask = magnitude_masks({"a": layer}, parse_pattern(text), "layer", sparsity)["a"]
        packed, _ = pack({"a": layer.weight.detach()}, {"a": mask}, parse_pattern(text))
        assert packed["a.places"].numel() == num_bytes


@pytest.mark.parametrize("masked", [False, True])
def test_eight_bits_are_those_of_torchs_quantisation(masked: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 16)
    mask = torch.rand(5, 16) > 0.5
    packed, metadata = pack({"w": weight}, {"w": mask} if masked else {}, parse_pattern("unstructured"), ["w"])
    assert packed["w.kept"].dtype == torch.int8
    dense = weight * mask if masked else weight
    scales = dense.abs().amax(1) / 127
    theirs = torch.quantize_per_channel(dense, scales.double(), torch.zeros(5, dtype=torch.int64), 0, torch.qint8)
    again = unpack(packed, metadata, "x")["w"]
    torch.testing.assert_close(again, theirs.dequantize(), rtol=1e-6, atol=0)
    torch.testing.assert_close(quantize(again)[0], quantize(dense)[0])  # a second time changes nothing


def test_bits_are_packed_and_unpacked() -> None:
    bits = torch.rand(29) > 0.5
    assert torch.equal(unpack_bits(pack_bits(bits), 29), bits)
    assert pack_bits(bits).numel() == 4


def test_a_damaged_layout_is_refused() -> None:
    pattern, layer = parse_pattern("unstructured"), MaskedLinear(8, 4)
    mask = magnitude_masks({"a": layer}, pattern, "layer", 0.5)["a"]
    packed, metadata = pack({"a": layer.weight.detach()}, {"a": mask}, pattern)
    for broken in ({**packed, "a.kept": packed["a.kept"][:3]}, {**packed, "a.places": packed["a.places"][:1]}):
        with pytest.raises(InputError, match=r"x: a: its packed layout is damaged"):
            unpack(broken, metadata, "x")
    with pytest.raises(InputError, match="damaged"):
        unpack({"a.kept": packed["a.kept"]}, metadata, "x")
    with pytest.raises(InputError, match="damaged"):
        unpack(packed, {METADATA_KEY: '{"a": {"shape": [4]}}'}, "x")
