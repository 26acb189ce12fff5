"""Weights of torchaudio's wav2vec 2.0 networks (`torchaudio.models.wav2vec2_model`) under the names of ours.

In full-context modes a `Wav2VecEncoder` that has them all gives torchaudio's output. The two differ
- in the samples: ours hears them normalised with the statistics of its corpus; networks of torchaudio's pipelines that
  were trained on much speech (LV-60k, XLSR) normalise each utterance, the others take samples as they are;
- in front: ours hears `FeatureExtractor.left_samples` zeros before the utterance, theirs no zeros;
- in the last output frame: ours is filled up with zeros, theirs is dropped if samples are missing;
- in batches, where the extractor's norm is over time: theirs counts the padding in, ours does not, so that ours gives
  in any batch what theirs gives for the utterance alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dualtk.encoders.transformer_stack import NormPlace
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
NORMS: dict[NormPlace, dict[str, str]] = {
    "before": {"layer_norm": "attention.norm", "final_layer_norm": "feedforward.norm"},
    "after": {"layer_norm": "attention_norm", "final_layer_norm": "feedforward_norm"},
}
CONTEXT_NORM: dict[NormPlace, str] = {"before": "stack.norm", "after": "context_norm"}


@dataclass
class Renamed:
    """Tensors under our names.

    Attributes:
        kind: of a `Wav2VecEncoder` that they fit.
        tensors: of that encoder.
        left: names of theirs that have no counterpart: what follows the encoder.
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
    theirs = {OUTER.sub("", name): tensor for name, tensor in state_dict.items()}
    modes, renamed = tuple(mode_names), Renamed(_kind(theirs))
    renamed.tensors |= {f"positions.{name}": tensor for name, tensor in _positions(theirs).items()}
    for name, tensor in theirs.items():
        if found := CONVOLUTION.fullmatch(name):
            _convolution(renamed, theirs, found, tensor, modes)
        elif found := LAYER.fullmatch(name):
            _layer(renamed, theirs, found, tensor, modes)
        elif name.startswith("encoder.feature_projection.layer_norm."):
            renamed.norm("extracted_norm", name.rpartition(".")[2], tensor, modes)
        elif name.startswith("encoder.feature_projection.projection."):
            renamed.tensors[f"projection.{name.rpartition('.')[2]}"] = tensor
        elif name.startswith("encoder.transformer.layer_norm."):
            renamed.norm(CONTEXT_NORM[renamed.kind.norms], name.rpartition(".")[2], tensor, modes)
        elif name == "mask_generator.mask_embedding":
            renamed.tensors["latent_masks.embedding"] = tensor
        elif not name.startswith(POSITIONS):
            renamed.left.append(name)
    return renamed


def _kind(theirs: Mapping[str, Tensor]) -> Wav2VecKind:
    positions = any(name.startswith(POSITIONS) for name in theirs)
    all_have_norms = "feature_extractor.conv_layers.1.layer_norm.weight" in theirs
    return Wav2VecKind(
        extractor_norm="layer" if all_have_norms else "group",
        norms="before" if all_have_norms else "after",
        positions="convolution" if positions else "none",
    )


def _positions(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of the convolution over positions."""
    found = {name.removeprefix(POSITIONS): tensor for name, tensor in theirs.items() if name.startswith(POSITIONS)}
    for size, direction in WEIGHT_NORMS:
        if size in found and direction in found:
            taps = found[direction]  # (D, D / groups, k), of which every tap has its size
            found["weight"] = taps * (found[size] / taps.norm(dim=(0, 1), keepdim=True))
    return {name: tensor for name, tensor in found.items() if name in ("weight", "bias")}


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
    block, norms = f"stack.blocks.{index}", NORMS[renamed.kind.norms]
    if part in norms:
        renamed.norm(f"{block}.{norms[part]}", kind, tensor, modes)
    elif part in PARTS:
        renamed.tensors[f"{block}.{PARTS[part]}.{kind}"] = tensor
    elif part == INPUTS[0]:
        joined = [theirs[f"encoder.transformer.layers.{index}.{one}.{kind}"] for one in INPUTS]
        renamed.tensors[f"{block}.attention.input.{kind}"] = torch.cat(joined)
    elif part not in INPUTS:
        renamed.left.append(found.group())
