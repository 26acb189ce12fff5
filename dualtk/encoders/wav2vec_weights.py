"""Weights of torchaudio's wav2vec 2.0 networks (`torchaudio.models.wav2vec2_model`) under the names of ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dualtk.encoders.extractor import ExtractorNorm

PRETRAINED = "wav2vec2."  # before the names in networks with what pre-training needs
CONVOLUTION = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)")
LAYER = re.compile(r"encoder\.transformer\.layers\.(\d+)\.(.+)\.(weight|bias)")
INPUTS = tuple(f"attention.{name}_proj" for name in "qkv")
PARTS = {
    "attention.out_proj": "attention.output",
    "feed_forward.intermediate_dense": "feedforward.input",
    "feed_forward.output_dense": "feedforward.output",
}
NORMS = {"layer_norm": "attention.norm", "final_layer_norm": "feedforward.norm"}


@dataclass
class Renamed:
    """Tensors under our names.

    Attributes:
        extractor_norm: of their feature extractor; the names and shapes of both kinds are the same.
        tensors: of a `Wav2VecEncoder`.
        left: names of theirs that have no counterpart: the convolution over positions, and what follows the encoder.
    """

    extractor_norm: ExtractorNorm
    tensors: dict[str, Tensor] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def norm(self, name: str, kind: str, tensor: Tensor, mode_names: Iterable[str]) -> None:
        """A dual norm begins alike in every mode."""
        for mode in mode_names:
            self.tensors[f"{name}.norms.{mode}.{kind}"] = tensor


def is_wav2vec(names: Iterable[str]) -> bool:
    """Whether a file with these tensors is a torchaudio network of this kind."""
    return any(CONVOLUTION.fullmatch(name.removeprefix(PRETRAINED)) for name in names)


def from_torchaudio(state_dict: Mapping[str, Tensor], mode_names: Iterable[str] = ("full",)) -> Renamed:
    """What a `Wav2VecEncoder` can take from a torchaudio network, with norms for every mode.

    Convolutions without a bias get one of zeros. Their blocks are those of ours if they were built with
    `encoder_layer_norm_first`, as those of the large models are. The norms of the base model, which has a single norm
    in its extractor, stand after the residual connections: its blocks are left, because there is no place for them.
    """
    theirs = {name.removeprefix(PRETRAINED): tensor for name, tensor in state_dict.items()}
    modes, norms_first = tuple(mode_names), "feature_extractor.conv_layers.1.layer_norm.weight" in theirs
    renamed = Renamed("layer" if norms_first else "group")
    for name, tensor in theirs.items():
        if found := CONVOLUTION.fullmatch(name):
            _convolution(renamed, theirs, found, tensor, modes)
        elif (found := LAYER.fullmatch(name)) and norms_first:
            _layer(renamed, theirs, found, tensor, modes)
        elif name.startswith("encoder.feature_projection.layer_norm."):
            renamed.norm("extracted_norm", name.rpartition(".")[2], tensor, modes)
        elif name.startswith("encoder.feature_projection.projection."):
            renamed.tensors[f"projection.{name.rpartition('.')[2]}"] = tensor
        elif name.startswith("encoder.transformer.layer_norm.") and norms_first:
            renamed.norm("stack.norm", name.rpartition(".")[2], tensor, modes)
        elif name == "mask_generator.mask_embedding":
            renamed.tensors["latent_masks.embedding"] = tensor
        else:
            renamed.left.append(name)
    return renamed


def _convolution(
    renamed: Renamed, theirs: Mapping[str, Tensor], found: re.Match[str], tensor: Tensor, modes: tuple[str, ...]
) -> None:
    """A layer of the extractor."""
    index, part, kind = found.groups()
    if part == "layer_norm":
        renamed.norm(f"extractor.layers.{index}.norm", kind, tensor, modes)
        return
    renamed.tensors[f"extractor.layers.{index}.{kind}"] = tensor
    if f"feature_extractor.conv_layers.{index}.conv.bias" not in theirs:
        renamed.tensors[f"extractor.layers.{index}.bias"] = tensor.new_zeros(len(tensor))


def _layer(
    renamed: Renamed, theirs: Mapping[str, Tensor], found: re.Match[str], tensor: Tensor, modes: tuple[str, ...]
) -> None:
    """A part of a block; queries, keys and values are one layer of ours."""
    index, part, kind = found.groups()
    block = f"stack.blocks.{index}"
    if part in NORMS:
        renamed.norm(f"{block}.{NORMS[part]}", kind, tensor, modes)
    elif part in PARTS:
        renamed.tensors[f"{block}.{PARTS[part]}.{kind}"] = tensor
    elif part == INPUTS[0]:
        joined = [theirs[f"encoder.transformer.layers.{index}.{one}.{kind}"] for one in INPUTS]
        renamed.tensors[f"{block}.attention.input.{kind}"] = torch.cat(joined)
    elif part not in INPUTS:
        renamed.left.append(found.group())
