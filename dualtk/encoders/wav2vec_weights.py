"""Weights of torchaudio's wav2vec 2.0 networks (`torchaudio.models.wav2vec2_model`) under the names of this package.

In full-context modes a `Wav2VecEncoder` that has them all gives torchaudio's output. The two differ
- in the samples: here they are normalised with the statistics of the corpus; networks of torchaudio's pipelines that
  were trained on much speech (LV-60k, XLSR) normalise each utterance, the others take samples as they are;
- in front: here `FeatureExtractor.left_samples` zeros stand before the utterance, in torchaudio none;
- in the last output frame: here it is filled up with zeros, in torchaudio it is dropped if samples are missing;
- in batches, where the extractor's norm is over time: torchaudio counts the padding in. Here it does not count, so that
  any batch gives what torchaudio gives for the utterance alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dualtk.encoders.wav2vec import Wav2VecKind

# Before the names in networks that normalise their input, and in those with what pre-training needs.
OUTER = re.compile(r"^(model\.)?(wav2vec2\.)?")
CONVOLUTION = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(weight|bias)")
POSITIONS = "encoder.transformer.pos_conv_embed.conv."
# Weight norm in the names of torch since 2.0, and before.
WEIGHT_NORMS = (("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v"))
LAYER = re.compile(r"encoder\.transformer\.layers\.(\d+)\.(.+)\.(weight|bias)")
INPUTS = tuple(f"attention.{name}_proj" for name in "qkv")
PARTS = {
    "attention.out_proj": "attention.output",
    "feed_forward.intermediate_dense": "feedforward.input",
    "feed_forward.output_dense": "feedforward.output",
}
# By `pre_norm`.
NORMS = {
    True: {"layer_norm": "attention.norm", "final_layer_norm": "feedforward.norm"},
    False: {"layer_norm": "attention_norm", "final_layer_norm": "feedforward_norm"},
}
CONTEXT_NORM = {True: "stack.norm", False: "context_norm"}


@dataclass
class Renamed:
    """Tensors under our names.

    Attributes:
        kind: of a `Wav2VecEncoder` that they fit.
        tensors: of that encoder.
        left: names in the file that have no counterpart: what follows the encoder.
    """

    kind: Wav2VecKind
    tensors: dict[str, Tensor] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def norm(self, name: str, kind: str, tensor: Tensor, mode_names: Iterable[str]) -> None:
        """A dual norm begins alike in every mode."""
        for mode in mode_names:
            self.tensors[f"{name}.norms.{mode}.{kind}"] = tensor


def is_wav2vec(names: Iterable[str]) -> bool:
    """Whether a file with these tensors is a torchaudio network of this kind."""
    return any(CONVOLUTION.fullmatch(OUTER.sub("", name)) for name in names)


def from_torchaudio(state_dict: Mapping[str, Tensor], mode_names: Iterable[str] = ("full",)) -> Renamed:
    """What a `Wav2VecEncoder` can take from a torchaudio network, with norms for every mode.

    Convolutions of the extractor without a bias get one of zeros; the weight norm of the convolution over positions is
    multiplied in. Names do not tell where the norms of blocks stand: before the branches if all convolutions of the
    extractor have a norm, and after the additions if only the first has one, as in all of torchaudio's pipelines. The
    number of heads is not in the tensors either: torchaudio's base models have 12, the large ones 16.
    """
    source = {OUTER.sub("", name): tensor for name, tensor in state_dict.items()}
    modes, renamed = tuple(mode_names), Renamed(_kind(source))
    renamed.tensors |= {f"positions.{name}": tensor for name, tensor in _positions(source).items()}
    for name, tensor in source.items():
        if found := CONVOLUTION.fullmatch(name):
            _convolution(renamed, source, found, tensor, modes)
        elif found := LAYER.fullmatch(name):
            _layer(renamed, source, found, tensor, modes)
        elif name.startswith("encoder.feature_projection.layer_norm."):
            renamed.norm("extracted_norm", name.rpartition(".")[2], tensor, modes)
        elif name.startswith("encoder.feature_projection.projection."):
            renamed.tensors[f"projection.{name.rpartition('.')[2]}"] = tensor
        elif name.startswith("encoder.transformer.layer_norm."):
            renamed.norm(CONTEXT_NORM[renamed.kind.pre_norm], name.rpartition(".")[2], tensor, modes)
        elif name == "mask_generator.mask_embedding":
            renamed.tensors["latent_masks.embedding"] = tensor
        elif not name.startswith(POSITIONS):
            renamed.left.append(name)
    return renamed


def _kind(source: Mapping[str, Tensor]) -> Wav2VecKind:
    positions = any(name.startswith(POSITIONS) for name in source)
    all_have_norms = "feature_extractor.conv_layers.1.layer_norm.weight" in source
    return Wav2VecKind(
        extractor_norm="layer" if all_have_norms else "group",
        pre_norm=all_have_norms,
        positions="convolution" if positions else "none",
    )


def _positions(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of the convolution over positions."""
    found = {name.removeprefix(POSITIONS): tensor for name, tensor in source.items() if name.startswith(POSITIONS)}
    for size, direction in WEIGHT_NORMS:
        if size in found and direction in found:
            taps = found[direction]  # (D, D / groups, k), of which every tap has its size
            found["weight"] = taps * (found[size] / taps.norm(dim=(0, 1), keepdim=True))
    return {name: tensor for name, tensor in found.items() if name in ("weight", "bias")}


def _convolution(
    renamed: Renamed, source: Mapping[str, Tensor], found: re.Match[str], tensor: Tensor, modes: tuple[str, ...]
) -> None:
    """A layer of the extractor."""
    index, part, kind = found.groups()
    if part == "layer_norm":
        renamed.norm(f"extractor.layers.{index}.norm", kind, tensor, modes)
        return
    renamed.tensors[f"extractor.layers.{index}.{kind}"] = tensor
    if f"feature_extractor.conv_layers.{index}.conv.bias" not in source:
        renamed.tensors[f"extractor.layers.{index}.bias"] = tensor.new_zeros(len(tensor))


def _layer(
    renamed: Renamed, source: Mapping[str, Tensor], found: re.Match[str], tensor: Tensor, modes: tuple[str, ...]
) -> None:
    """A part of a block; queries, keys and values are one layer here."""
    index, part, kind = found.groups()
    block, norms = f"stack.blocks.{index}", NORMS[renamed.kind.pre_norm]
    if part in norms:
        renamed.norm(f"{block}.{norms[part]}", kind, tensor, modes)
    elif part in PARTS:
        renamed.tensors[f"{block}.{PARTS[part]}.{kind}"] = tensor
    elif part == INPUTS[0]:
        joined = [source[f"encoder.transformer.layers.{index}.{one}.{kind}"] for one in INPUTS]
        renamed.tensors[f"{block}.attention.input.{kind}"] = torch.cat(joined)
    elif part not in INPUTS:
        renamed.left.append(found.group())
